"""Files and folders → rows with a text and a label. ``datasets`` reads them and keeps them in Arrow.

Labels stay as the file spells them; `labels` turns them into class numbers.
"""

import contextlib
import csv
import functools
import glob
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import huggingface_hub.utils
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment_tf.data.columns import LABEL_COLUMNS, TEXT_COLUMNS, find_column, repeated_column, separator_problem
from sentiment_tf.data.settings import compression_problem, content_problem, file_problem
from sentiment_tf.errors import UserError

_TEXT_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")

FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


class Raw(NamedTuple):
    """One split as it was read.

    rows: columns ``text`` (string) and, unless the split is unlabelled, ``label`` (any type).
    name: the file, or the data set and split, for error messages.
    class_names: names of the label numbers, if the file has them (a ``ClassLabel``), else None.
    columns: the file's names of the text and label columns, or None.
    numbers: int64[rows], the rows' numbers in the file, from 1; None if they are all of the file's rows, in its order.
    files: name of each row's own file, if every row has one; else None.
    """

    rows: datasets.Dataset
    name: str
    class_names: tuple[str, ...] | None = None
    columns: tuple[str, str] | None = None
    numbers: np.ndarray | None = None
    files: tuple[str, ...] | None = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the log messages of ``datasets``, and progress bars unless stderr is a terminal."""
    verbosity = datasets.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled(), huggingface_hub.utils.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not bars[0]:
            datasets.enable_progress_bars()
        if not bars[1]:
            huggingface_hub.utils.enable_progress_bars()


def read_file(
    path: str | Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels_required: bool = True,
) -> Raw:
    """Reads a CSV, TSV, JSON lines or Parquet file; the format follows from the extension.

    A TSV has no quoting, as in GLUE: a quotation mark is part of the text. Every column of a CSV or TSV is read as
    strings, so a review such as ``NA`` or ``007`` is kept.

    Args:
      path: the file; text formats are UTF-8.
      text_column: name of the text column; None takes the first of `TEXT_COLUMNS` that exists.
      label_column: name of the label column; None takes the first of `LABEL_COLUMNS` that exists.
      labels_required: False accepts a file without a label column.

    Raises:
      UserError: no such file or column, an unknown extension, bytes that are not UTF-8, or a malformed file.
    """
    path = Path(path).expanduser()
    if problem := compression_problem(path):
        raise UserError(f"{path}: {problem}")
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: unknown extension {path.suffix!r}; known are {', '.join(FORMATS)}")
    if problem := file_problem(path):
        raise UserError(f"{path}: {problem}")
    if path.suffix.lower() != ".parquet" and (problem := content_problem(_beginning(path))):
        raise UserError(f"{path}: {problem}")
    columns = {"text_column": text_column, "label_column": label_column}
    return select_columns(load_table(path), str(path), **columns, labels_required=labels_required)


def _beginning(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:  # the reader says why it cannot be opened
        return file.read(8)
    return b""


def read_review_folder(folder: Path) -> Raw:
    """Reads one split in aclImdb's layout: ``neg/*.txt`` and ``pos/*.txt``, one review per file.

    Returns:
      Negative reviews (label 0), then positive ones (label 1), each in the order of the file names.

    Raises:
      UserError: no reviews, a file that cannot be read, or bytes that are not UTF-8.
    """
    files = [sorted((folder / name).glob("*.txt")) for name in ("neg", "pos")]
    if not all(files):
        raise UserError(f"{folder}: expected reviews in neg/*.txt and pos/*.txt")
    texts = pa.array((_read_text(file) for group in files for file in group), pa.string())
    labels = pa.array([0] * len(files[0]) + [1] * len(files[1]), pa.int64())
    names = tuple("/".join([folder.name, *file.parts[-2:]]) for group in files for file in group)
    rows = datasets.Dataset(pa.table({"text": texts, "label": labels}))
    return Raw(rows, str(folder), ("neg", "pos"), files=names)


def load_table(path: Path) -> datasets.Dataset:
    """Loads a file's rows with all columns.

    Raises:
      UserError: the file cannot be read or is malformed.
    """
    kind = FORMATS[path.suffix.lower()]
    with quiet(), warnings.catch_warnings():
        # pandas only warns if the first row has more fields than the header
        warnings.filterwarnings("error", message="Length of header or names")
        warnings.filterwarnings("ignore", category=ResourceWarning)  # `datasets` does not close a CSV
        try:
            options = _csv_options(path) if kind == "csv" else {}
            if kind == "parquet" and (repeated := repeated_column(pq.read_schema(path).names)):
                raise UserError(f"{path}: {repeated}")
            load = functools.partial(datasets.load_dataset, kind, data_files=[glob.escape(str(path.resolve()))])
            return (_load_json(path, load) if kind == "json" else load(**options))["train"]
        except (datasets.exceptions.DatasetGenerationError, OSError, StopIteration, ValueError, Warning) as error:
            problem = _explain(path, error)
            traceback.clear_frames((error.__cause__ or error).__traceback__)  # closes the file
    raise UserError(problem)


def _load_json(path: Path, load: Callable[..., datasets.DatasetDict]) -> datasets.DatasetDict:
    """Loads JSON lines; a file with a column of several types is read in one chunk.

    `datasets` infers types from the first chunk of 10 MB. For a later chunk with a value of another type it would write
    that chunk's texts as JSON, in quotation marks, among the plain texts of the others.
    """
    try:
        return load(on_mixed_types=None)
    except datasets.exceptions.DatasetGenerationError as error:
        cause = error.__cause__
        if ") changed from" not in f"{cause} {cause and cause.__context__}":
            raise
    return load(chunksize=path.stat().st_size)


def _explain(path: Path, error: Exception) -> str:
    """Returns why `datasets` could not load a file, as a message for the user."""
    cause = error.__cause__ or error
    if isinstance(cause, UnicodeDecodeError):
        return _first_undecodable(path)
    if isinstance(error, StopIteration) or "corresponds to no data" in str(error):
        return f"{path}: holds no rows"
    if isinstance(cause, OSError):
        return f"{path}: {cause}"
    try:
        if FORMATS[path.suffix.lower()] == "json":
            return f"{path}: not well-formed JSON lines: {_first_bad_line(path) or cause}"
        if FORMATS[path.suffix.lower()] == "csv" and (problem := _field_problem(path)):
            return f"{path}: {problem}"
    except UnicodeDecodeError:
        return _first_undecodable(path)
    return f"{path}: not a well-formed {path.suffix[1:]} file: {cause}"


def _csv_options(path: Path) -> dict:
    """Returns the options for reading a CSV or TSV: every column holds strings, no value counts as missing."""
    options = {"sep": ",", "na_filter": False, "index_col": False}
    if path.suffix.lower() == ".tsv":
        options |= {"sep": "\t", "quoting": csv.QUOTE_NONE}
    try:
        written = pandas.read_csv(path, nrows=1, header=None, dtype=str, encoding="utf-8", **options).iloc[0]
        header = pandas.read_csv(path, nrows=0, encoding="utf-8", **options).columns  # renames repeated columns
    except pandas.errors.EmptyDataError:
        raise UserError(f"{path}: is empty; expected a header line and rows") from None
    if repeated := repeated_column([name for name in written if name]):
        raise UserError(f"{path}: {repeated}")
    features = datasets.Features({str(name): datasets.Value("string") for name in header})
    return options | {"features": features}


def _field_problem(path: Path) -> str | None:
    """Returns that the header has other separators than the format, or which row has more fields than it, or None."""
    options: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix.lower() == ".tsv" else {}
    with path.open(encoding="utf-8-sig", newline="") as lines, contextlib.suppress(csv.Error):
        records = (record for record in csv.reader(lines, **options) if record)
        header = next(records)
        if problem := separator_problem(header):
            return problem
        for number, record in enumerate(records, start=1):
            if len(record) > len(header):
                advice = "a text cannot hold a tab" if options else "put quotation marks around a text with commas"
                return f"{row_name(number)} has {len(record)} fields, where the header has {len(header)}; {advice}"
    return None


def row_name(number: int) -> str:
    """Names a row by its number, from 1, for an error message."""
    return f"row {number:,} (counted from 1, without header and blank lines)"


def select_columns(
    rows: datasets.Dataset,
    name: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels_required: bool = True,
) -> Raw:
    """Keeps the text and the label column and renames them to ``text`` and ``label``.

    Args:
      rows: as `datasets` has read them.
      name: the file, or the data set and split, for error messages.
      text_column, label_column, labels_required: as in `read_file`.

    Raises:
      UserError: no such column, or a column that does not hold texts or labels.
    """
    find = functools.partial(_find_column, columns=rows.column_names, name=name)
    text = find(text_column, candidates=TEXT_COLUMNS, flag="text_column", required=True)
    label = find(label_column, candidates=LABEL_COLUMNS, flag="label_column", required=labels_required)
    if text == label:
        raise UserError(f"--text_column={text}: is also the label column in {name}; name two different columns")
    features = rows.features
    if getattr(features[text], "dtype", None) not in _TEXT_TYPES:
        raise UserError(_not_text(rows, text, name))
    if label is None:
        return Raw(rows.select_columns([text]).rename_columns({text: "text"}), name)
    if not isinstance(features[label], (datasets.Value, datasets.ClassLabel)):
        raise UserError(_mixed_labels(rows, label, name))
    class_names = tuple(features[label].names) if isinstance(features[label], datasets.ClassLabel) else None
    # Unused names in between: the text column may be called "label" and the label column "text".
    rows = rows.select_columns([text, label]).rename_columns({text: "text ", label: "label "})
    return Raw(rows.rename_columns({"text ": "text", "label ": "label"}), name, class_names, (text, label))


def _find_column(
    wanted: str | None,
    *,
    columns: Sequence[str],
    name: str,
    candidates: Sequence[str],
    flag: str,
    required: bool,
) -> str | None:
    """Returns what `columns.find_column` finds; raises a UserError if a required column is missing."""
    found = find_column(columns, wanted, candidates)
    if found is not None or not required:
        return found
    listing = ", ".join(columns)
    if problem := separator_problem(columns):
        raise UserError(f"{name}: {problem}")
    if wanted is not None:
        raise UserError(f"--{flag}={wanted}: no such column in {name}; its columns are {listing}")
    kind = flag.removesuffix("_column")
    raise UserError(
        f"{name}: no {kind} column found (looked for {', '.join(candidates)}; its columns are {listing}); "
        f"name one with --{flag}"
    )


def _not_text(rows: datasets.Dataset, column: str, name: str) -> str:
    """Returns which row of a JSON file has no text among texts, or what the column holds instead of texts."""
    with contextlib.suppress(ValueError):
        values = _written_values(rows, column, name)
        odd = [number for number, value in enumerate(values, start=1) if not isinstance(value, (str, type(None)))]
        if 0 < len(odd) < len(values):
            value = json.dumps(values[odd[0] - 1], ensure_ascii=False, default=str)
            return f"{name}: {row_name(odd[0])} has {value:.60} as its {column}; put quotation marks around it"
    return f"--text_column={column}: holds {rows.features[column]} in {name}, not text"


def _written_values(rows: datasets.Dataset, column: str, name: str) -> list:
    """Returns the values of a column as a JSON file has them: where types are mixed, `datasets` reads "1" as 1."""
    if not name.lower().endswith((".json", ".jsonl")):
        return rows[column][:]
    content = Path(name).read_text(encoding="utf-8-sig").strip()
    items = json.loads(content) if content.startswith("[") else map(json.loads, filter(str.strip, content.split("\n")))
    return [item.get(column) for item in items]


def _mixed_labels(rows: datasets.Dataset, column: str, name: str) -> str:
    """Returns which row of a JSON file has a label of another type, or what the column holds instead of labels."""
    with contextlib.suppress(ValueError):
        first, *others = _written_values(rows, column, name)
        for row, value in enumerate([first, *others], start=1):
            if isinstance(value, (list, dict)):
                break
            if type(value) is not type(first):
                return f"{name}: {row_name(row)} has the label {value!r}, row 1 has {first!r}; use one kind"
    return f"--label_column={column}: holds {rows.features[column]} in {name}, not a number or a name"


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(_first_undecodable(file)) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); make it readable or move it away") from None


def _first_undecodable(path: Path) -> str:
    """Returns which line and byte of a file is not UTF-8."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return (
                    f"{path}: file line {number}, byte {error.start + 1} (0x{byte:02x}) is not UTF-8; "
                    "save the file as UTF-8"
                )
    return f"{path}: is not UTF-8; save the file as UTF-8"


def _first_bad_line(path: Path) -> str | None:
    """Returns which line of a JSON lines file is not an object, or names a column twice; or None."""

    def columns(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if problem := repeated_column([name for name, _ in pairs]):
            raise ValueError(problem)
        return dict(pairs)

    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line, object_pairs_hook=columns), dict):
                    return f'file line {number} is not an object such as {{"text": "…", "label": 1}}'
            except ValueError as error:
                return f"file line {number}: {error}"
    return None
