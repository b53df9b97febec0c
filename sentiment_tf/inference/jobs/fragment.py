"""One fragment of a job through a loaded model: its rows in, an output file and a record of it out."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.evaluation import thresholds
from sentiment_tf.inference import readers, scoring, writers
from sentiment_tf.inference.classifier import TEXTS_AT_ONCE, Classifier
from sentiment_tf.inference.engines import Engine
from sentiment_tf.inference.jobs import plan, storage
from sentiment_tf.inference.jobs.plan import OUTPUT_FORMATS, Fragment
from sentiment_tf.inference.jobs.storage import PartialFile, Place

RECORDS = "_records"  # folder with a record of each finished fragment
BAD_ROWS = "_bad_rows"
_ROW_GROUP = 16_384  # rows of an output's row group, about


@dataclasses.dataclass(frozen=True)
class Job:
    """What the workers of a job share.

    Attributes:
      source: The folder that holds every file of the input.
      output: The output folder.
      model: Absolute path of the run, at which every worker finds it.
      engine: The engine that runs it.
      precision: The precision of its arithmetic.
      digest: SHA-256 over the model's files.
      input_format, text_column, columns: See `plan.Plan`.
      skip_bad_rows: Whether rows that cannot be read are written to `BAD_ROWS` instead of ending the job.
    """

    source: Place
    output: Place
    model: str
    engine: Engine
    precision: str
    digest: str
    input_format: str
    text_column: str | None
    columns: tuple[str, ...]
    skip_bad_rows: bool


def score(model: Classifier, job: Job, fragment: Fragment) -> Iterator[int | dict]:
    """Answers a fragment; its output appears when it is whole, after its record.

    Yields:
      The number of rows answered since the last one, and at the end the record: ``rows``, ``bad_rows``, ``bytes`` and
      ``sha256`` of the output file.

    Raises:
      UserError: A row or the file cannot be read, the file has changed, or the output cannot be written.
    """
    bad = _BadRows(job, fragment)
    write = _write_parquet if job.input_format == "parquet" else _write_records
    _check_unchanged(job, fragment)
    with storage.new_file(job.output) as file:
        rows = 0
        for count in write(model, job, fragment, file, bad):
            rows += count
            yield count
        _check_unchanged(job, fragment)
        bad.write()
        record = {"rows": rows, "bad_rows": len(bad.found), "bytes": file.bytes, "sha256": file.sha256}
        storage.write_json(job.output, f"{RECORDS}/{fragment.output}.json", record)
        file.rename(job.output / fragment.output)
    yield record


class _BadRows:
    """The rows of a fragment that cannot be answered."""

    def __init__(self, job: Job, fragment: Fragment):
        self._job, self._fragment = job, fragment
        self.found = []

    def left_out(self, rows: Iterable[readers.Row | readers.Broken], refuse) -> Iterator[readers.Row]:
        """Yields the good rows and keeps the reasons of the others; without --skip_bad_rows the first ends the job."""
        for row in rows:
            if isinstance(row, readers.Broken):
                self._leave_out(row.number, row.reason)
            elif reason := refuse(row):
                self._leave_out(row.number, reason)
            else:
                yield row

    def _leave_out(self, number: int, reason: str) -> None:
        if not self._job.skip_bad_rows:
            raise UserError(
                f"{self._fragment.file} row {number}: {reason}; fix the row, or pass --skip_bad_rows; then start the "
                "command again"
            )
        self.found.append({"file": self._fragment.file, "row": number, "reason": reason})

    def write(self) -> None:
        if self.found:
            storage.write_json(self._job.output, f"{BAD_ROWS}/{self._fragment.output}.json", self.found)


def _check_unchanged(job: Job, fragment: Fragment) -> None:
    place = job.source / fragment.file
    with storage.reported(f"--input={place.path}"):
        info = place.info()
        found = (info.size, plan.modified(info))
    if found != (fragment.size, fragment.modified):
        changed = "is not there on this machine" if info.size is None else "has changed since the job was begun"
        raise UserError(f"--input={place.path}: {changed}; put it back, or score into another folder")


def _write_records(model: Classifier, job: Job, fragment: Fragment, file: PartialFile, bad: _BadRows) -> Iterator[int]:
    """Answers a file of text, CSV or JSON lines."""
    form = writers.layout(OUTPUT_FORMATS[job.input_format], columns=job.columns, label_names=model.label_names)
    file.write(form.header)
    text_column = None if job.input_format == "text" else job.text_column
    try:
        with plan.open_text(job.source / fragment.file) as stream:
            source = readers.from_stream(
                stream, name=fragment.file, input_format=job.input_format, text_column=text_column
            )
            for window, probabilities in scoring.answered(model, bad.left_out(source.rows, form.refuse)):
                file.write(b"".join(map(form.record, window, model.labels(probabilities), probabilities)))
                yield len(window)
    except (OSError, EOFError, pa.ArrowException) as error:  # a damaged compressed file, for example
        raise UserError(f"{fragment.file}: cannot be read ({first_line(error)}); leave it out or restore it") from error


def _write_parquet(model: Classifier, job: Job, fragment: Fragment, file: PartialFile, bad: _BadRows) -> Iterator[int]:
    """Answers row groups of a Parquet file; the input's own columns keep their types."""
    place = job.source / fragment.file
    try:
        with place.system.open_input_file(place.path) as stream, pq.ParquetFile(stream) as source:
            schema = _answered_schema(source.schema_arrow, job, model)
            with pq.ParquetWriter(file, schema) as writer:
                waiting = []
                for batch, probabilities in _answered_batches(model, job, fragment, source, bad):
                    waiting.append(_answered_batch(batch, probabilities, model, schema))
                    if sum(batch.num_rows for batch in waiting) >= _ROW_GROUP:
                        writer.write_table(pa.Table.from_batches(waiting))
                        waiting = []
                    yield batch.num_rows
                if waiting:
                    writer.write_table(pa.Table.from_batches(waiting))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{fragment.file}: cannot be read ({first_line(error)}); leave it out or restore it") from error


def _answered_batches(
    model: Classifier, job: Job, fragment: Fragment, source: pq.ParquetFile, bad: _BadRows
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Yields batches of good rows with their probabilities, float32[rows, classes]."""

    def good_batches():
        first = fragment.first_row
        for batch in source.iter_batches(TEXTS_AT_ONCE, row_groups=list(fragment.row_groups)):
            rows = readers.rows_of_batch(batch.select([job.text_column]), job.text_column, first=first)
            rows = list(bad.left_out(rows, lambda row: None))
            kept = batch if len(rows) == batch.num_rows else batch.take(pa.array([row.number - first for row in rows]))
            first += batch.num_rows
            yield kept, [row.text for row in rows]

    batches, ahead = itertools.tee(good_batches())
    answers = model.stream(texts for _, texts in ahead)
    yield from zip((batch for batch, _ in batches), answers, strict=True)


def _answered_schema(schema: pa.Schema, job: Job, model: Classifier) -> pa.Schema:
    """Returns a Parquet file's schema with the columns label, probability and probabilities added."""
    names = writers.apart(("label", "probability", "probabilities"), job.columns)
    probabilities = pa.struct([(name, pa.float32()) for name in model.label_names])
    for name, kind in zip(names, (pa.string(), pa.float32(), probabilities), strict=True):
        schema = schema.append(pa.field(name, kind))
    return schema


def _answered_batch(
    batch: pa.RecordBatch, probabilities: np.ndarray, model: Classifier, schema: pa.Schema
) -> pa.RecordBatch:
    each = [pa.array(column) for column in np.ascontiguousarray(probabilities.T)]
    classes = thresholds.decide(probabilities, model.threshold)
    added = [
        pa.array(model.labels(probabilities), pa.string()),
        pa.array(np.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]),
        pa.StructArray.from_arrays(each, fields=list(schema.field(-1).type)),
    ]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)
