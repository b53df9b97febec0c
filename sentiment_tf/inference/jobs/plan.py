"""What a scoring job works on: its files, divided into fragments, each with an output file of its own.

The plan is made once and kept in the output folder: the job that goes on after a kill does what the first one began,
whatever has been added to the input since.
"""

import contextlib
import dataclasses
import io
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from sentiment_tf.data.columns import TEXT_COLUMNS, find_column
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.inference import readers
from sentiment_tf.inference.jobs import storage
from sentiment_tf.inference.jobs.storage import Place

FRAGMENT_ROWS = 20_000  # of a Parquet file, at least: a killed worker loses a minute of work
OUTPUT_FORMATS = {"text": "text", "csv": "csv", "tsv": "csv", "jsonl": "json", "parquet": "parquet"}
_EXTENSIONS = {"text": ".txt", "csv": ".csv", "json": ".jsonl", "parquet": ".parquet"}
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
_READ_AT_ONCE = 16  # heads of files; reading one is waiting for the file system


@dataclasses.dataclass(frozen=True)
class Fragment:
    """A file, or some row groups of a Parquet file: the unit of work.

    Attributes:
      file: Name, relative to the input's folder.
      size: Bytes of the whole file.
      modified: Nanoseconds of its last change, or None if the file system does not say.
      output: Name of the output file, relative to the output folder.
      row_groups: Numbers of the row groups, or None for a file that has none.
      first_row: Number of the first row in the file, counted from 1.
      rows: How many there are, or None if only reading shows it.
    """

    file: str
    size: int
    modified: int | None
    output: str
    row_groups: tuple[int, ...] | None = None
    first_row: int = 1
    rows: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The work of a job, and how its files are read.

    Attributes:
      input_format: One of `readers.FORMATS`.
      text_column: Holds the text; None for lines of text.
      columns: The columns of the first file, in order.
      fragments: In the order of files and rows.
    """

    input_format: str
    text_column: str | None
    columns: tuple[str, ...]
    fragments: tuple[Fragment, ...]

    def as_json(self) -> dict:
        """Returns what `from_json` reads."""
        return dataclasses.asdict(self)


def from_json(content: dict) -> Plan:
    """Returns the plan that `Plan.as_json` described."""
    fragments = tuple(
        Fragment(**item | {"row_groups": item["row_groups"] and tuple(item["row_groups"])})
        for item in content["fragments"]
    )
    return Plan(content["input_format"], content["text_column"], tuple(content["columns"]), fragments)


def make(uri: str, *, input_format: str | None, text_column: str | None) -> Plan:
    """Finds the input's files and divides them into fragments.

    Args:
      uri: See `storage.find_files`.
      input_format: One of `readers.FORMATS`; None goes by the files' extensions.
      text_column: As the user named it, or None for the first of `TEXT_COLUMNS` that exists.

    Raises:
      UserError: No file matches, a file cannot be read, or the files do not have the same format and columns.
    """
    source, files = storage.find_files(uri)
    input_format = input_format or _common_format(uri, [name for name, _ in files])
    files = [(name, info) for name, info in files if info.size or input_format == "parquet"]
    if not files:
        raise UserError(f"--input={uri}: every file is empty; pass files with rows")
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        heads = list(pool.map(lambda file: _head(source, file[0], file[1], input_format, text_column), files))
    columns = _common_columns([name for name, _ in files], [columns for columns, _ in heads], input_format)
    if input_format != "text":
        text_column = find_column(columns, text_column, TEXT_COLUMNS)
    fragments = tuple(fragment for _, of_file in heads for fragment in of_file)
    _check_names(fragments)
    return Plan(input_format, text_column, columns, fragments)


@contextlib.contextmanager
def open_text(place: Place) -> Iterator[io.BufferedReader]:
    """Opens a file of text, CSV or JSON lines, decompressed according to its extension."""
    with place.system.open_input_stream(place.path, compression="detect") as file:
        yield io.BufferedReader(file, 1 << 20)


def modified(info: pyarrow.fs.FileInfo) -> int | None:
    """Returns the nanoseconds of a file's last change, or None if the file system does not say."""
    return info.mtime_ns if info.mtime_ns and info.mtime_ns > 0 else None


def _common_format(uri: str, names: Sequence[str]) -> str:
    formats = {readers.guess_format(_uncompressed(name)): name for name in reversed(names)}
    if len(formats) > 1:
        (first, name), (second, other), *_ = reversed(formats.items())
        raise UserError(
            f"--input={uri}: {name} is {first} and {other} is {second}; pass a pattern for files of one format, or "
            "--input_format"
        )
    return next(iter(formats))


def _head(
    source: Place, name: str, info: pyarrow.fs.FileInfo, input_format: str, text_column: str | None
) -> tuple[tuple[str, ...], list[Fragment]]:
    """Returns a file's columns and its fragments."""
    place, stem = source / name, _stem(name)
    extension = _EXTENSIONS[OUTPUT_FORMATS[input_format]]
    whole = Fragment(name, info.size, modified(info), stem + extension)
    with storage.reported(f"--input={name}"):
        if input_format != "parquet":
            with open_text(place) as file:
                opened = readers.from_stream(file, name=name, input_format=input_format, text_column=text_column)
                return opened.columns, [whole]
        try:
            with place.system.open_input_file(place.path) as file, pq.ParquetFile(file) as parquet:
                columns, metadata = tuple(parquet.schema_arrow.names), parquet.metadata
        except pa.ArrowInvalid as error:
            raise UserError(f"{name}: not a readable Parquet file ({first_line(error)}); leave it out") from None
    readers.find_text_column(columns, text_column, name)
    groups = _row_groups([metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)])
    fragments = []
    for number, (row_groups, first_row, rows) in enumerate(groups):
        part = f".{number:05}-of-{len(groups):05}" if len(groups) > 1 else ""
        output = f"{stem}{part}{extension}"
        fragments.append(
            dataclasses.replace(whole, output=output, row_groups=row_groups, first_row=first_row, rows=rows)
        )
    return columns, fragments


def _row_groups(sizes: Sequence[int]) -> list[tuple[tuple[int, ...], int, int]]:
    """Joins neighbouring row groups until they have `FRAGMENT_ROWS`: (numbers, first row from 1, rows) of each part."""
    parts, numbers, first, rows = [], [], 1, 0
    for number, size in enumerate(sizes):
        numbers.append(number)
        rows += size
        if rows >= FRAGMENT_ROWS or number == len(sizes) - 1:
            parts.append((tuple(numbers), first, rows))
            numbers, first, rows = [], first + rows, 0
    return parts or [((), 1, 0)]


def _common_columns(names: Sequence[str], columns: Sequence[tuple[str, ...]], input_format: str) -> tuple[str, ...]:
    """Returns the columns of the first file; each other file has the same, except that JSON objects may differ."""
    for name, others in zip(names, columns, strict=True):
        if input_format != "jsonl" and others != columns[0]:
            raise UserError(
                f"--input: {names[0]} has the columns {', '.join(columns[0])}, and {name} has {', '.join(others)}; "
                "score files of different columns in separate runs"
            )
    return columns[0]


def _check_names(fragments: Sequence[Fragment]) -> None:
    """Refuses two files with the same output, such as a.json and a.jsonl."""
    seen = {}
    for fragment in fragments:
        if (other := seen.setdefault(fragment.output, fragment)) is not fragment:
            raise UserError(
                f"--input: {other.file} and {fragment.file} would both be written to {fragment.output}; rename one"
            )


def _stem(name: str) -> str:
    return posixpath.splitext(_uncompressed(name))[0]


def _uncompressed(name: str) -> str:
    """Returns a file's name without the extension of its compression."""
    stem, extension = posixpath.splitext(name)
    return stem if extension in _COMPRESSED else name
