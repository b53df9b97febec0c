"""Files and folders → rows of a text and a raw label, read by ``datasets``, which keeps them in Arrow.

Labels are left as they stand here; `labels` turns them into class numbers.
"""

import contextlib
import csv
import functools
import glob
import json
import os.path
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import huggingface_hub.utils
import pyarrow as pa

from sentiment_tf.data.columns import LABEL_COLUMNS, TEXT_COLUMNS, find_column
from sentiment_tf.errors import UserError

FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


class Raw(NamedTuple):
    """One split as it was read.

    rows: columns ``text`` (string) and, unless unlabelled, ``label`` (any type).
    name: the file, or the data set and split, as an error message names it.
    class_names: the label's names where the file knows them (a ``ClassLabel``), else None.
    columns: the file's own names of text and label; None where it has no such columns.
    """

    rows: datasets.Dataset
    name: str
    class_names: tuple[str, ...] | None = None
    columns: tuple[str, str] | None = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' own errors off stderr, and their progress bars too unless it is a terminal."""
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
    """Reads a CSV, TSV, JSON lines or Parquet file; the extension says which.

    A TSV has no quoting, as in GLUE: a quotation mark is part of the text. Everything in a CSV or TSV is
    text first, so that a review reading ``NA`` or ``007`` stays what it is.

    Args:
      path: the file; UTF-8 in the text formats.
      text_column: None takes the first of `TEXT_COLUMNS` that is there.
      label_column: None takes the first of `LABEL_COLUMNS` that is there.
      labels_required: False lets a file without a label column pass, unlabelled.

    Raises:
      UserError: no such file or column, an unknown extension, bytes that are not UTF-8, or a broken file.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: unknown extension {path.suffix!r}; known are {', '.join(FORMATS)}")
    if not os.path.isfile(path):  # unlike Path's own, it never raises
        raise UserError(f"{path}: no such file")
    return _pick_columns(
        load_table(path),
        str(path),
        text_column=text_column,
        label_column=label_column,
        required=labels_required,
    )


def read_review_folder(folder: Path) -> Raw:
    """Reads a folder in aclImdb's layout: ``neg/*.txt`` and ``pos/*.txt``, one review a file.

    Returns:
      Rows in the order of the file names, negative first; label 0 or 1.

    Raises:
      UserError: no reviews, a file that cannot be read, or bytes in one that are not UTF-8.
    """
    files = [sorted((folder / name).glob("*.txt")) for name in ("neg", "pos")]
    if not all(files):
        raise UserError(f"{folder}: expected reviews in neg/*.txt and pos/*.txt")
    texts = pa.array((_read_text(file) for group in files for file in group), pa.string())
    labels = pa.array([0] * len(files[0]) + [1] * len(files[1]), pa.int64())
    return Raw(datasets.Dataset(pa.table({"text": texts, "label": labels})), str(folder), ("neg", "pos"))


def select_columns(rows: datasets.Dataset, name: str) -> Raw:
    """Takes text and label from rows that `datasets` has read, as `read_file` does from a file."""
    return _pick_columns(rows, name, text_column=None, label_column=None, required=True)


def load_table(path: Path) -> datasets.Dataset:
    """Loads a file's rows with all their columns.

    Raises:
      UserError: for every way in which that fails.
    """
    kind = FORMATS[path.suffix.lower()]
    with quiet(), warnings.catch_warnings():
        # pandas says so only in a warning when the first row has more fields than the header
        warnings.filterwarnings("error", message="Length of header or names")
        warnings.filterwarnings("ignore", category=ResourceWarning)  # `datasets` leaves a CSV to the collector
        try:
            options = _csv_options(path) if kind == "csv" else {}
            return datasets.load_dataset(kind, data_files=[glob.escape(str(path.resolve()))], **options)["train"]
        except (datasets.exceptions.DatasetGenerationError, OSError, StopIteration, ValueError, Warning) as error:
            problem = _explain(path, error)
            traceback.clear_frames((error.__cause__ or error).__traceback__)  # closes the file
    raise UserError(problem)


def _explain(path: Path, error: Exception) -> str:
    """Says in the file's terms why `datasets` could not load it."""
    cause = error.__cause__ or error
    if isinstance(cause, UnicodeDecodeError):
        return _first_undecodable(path)
    if isinstance(error, StopIteration) or "corresponds to no data" in str(error):
        return f"{path}: holds no rows"
    if isinstance(cause, OSError):
        return f"{path}: {cause}"
    if FORMATS[path.suffix.lower()] == "json":
        try:
            return f"{path}: not well-formed JSON lines: {_first_bad_line(path) or cause}"
        except UnicodeDecodeError:
            return _first_undecodable(path)
    return f"{path}: not a well-formed {path.suffix[1:]} file: {cause}"


def _csv_options(path: Path) -> dict:
    """Returns the reader's options for a CSV or TSV: every column is a string and none is 'missing'."""
    import pandas  # what `datasets` itself reads these with; costs half a second

    options = {"sep": ",", "na_filter": False, "index_col": False}
    if path.suffix.lower() == ".tsv":
        options |= {"sep": "\t", "quoting": csv.QUOTE_NONE}
    try:
        header = pandas.read_csv(path, nrows=0, encoding="utf-8", **options).columns
    except pandas.errors.EmptyDataError:
        raise UserError(f"{path}: is empty; expected a header line and rows") from None
    features = datasets.Features({str(name): datasets.Value("string") for name in header})
    return options | {"features": features}


def _pick_columns(
    rows: datasets.Dataset, name: str, *, text_column: str | None, label_column: str | None, required: bool
) -> Raw:
    """Keeps the text and the label column, under these names."""
    find = functools.partial(_find_column, columns=rows.column_names, name=name)
    text = find(text_column, candidates=TEXT_COLUMNS, flag="text_column", required=True)
    label = find(label_column, candidates=LABEL_COLUMNS, flag="label_column", required=required)
    if text == label:
        raise UserError(f"--text_column={text}: is the label's column too in {name}")
    features = rows.features
    if getattr(features[text], "dtype", None) not in ("string", "large_string"):
        raise UserError(f"--text_column={text}: holds {features[text]} in {name}, not text")
    if label is None:
        return Raw(rows.select_columns([text]).rename_columns({text: "text"}), name)
    if not isinstance(features[label], (datasets.Value, datasets.ClassLabel)):
        raise UserError(_mixed_labels(rows, label, name))
    class_names = tuple(features[label].names) if isinstance(features[label], datasets.ClassLabel) else None
    # The detour over unused names lets a file have its columns the other way round.
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
    """Returns what `columns.find_column` finds; raises where it is required and there is none."""
    found = find_column(columns, wanted, candidates)
    if found is not None or not required:
        return found
    listing = ", ".join(columns)
    if wanted is not None:
        raise UserError(f"--{flag}={wanted}: no such column in {name}; its columns are {listing}")
    raise UserError(f"{name}: none of its columns ({listing}) is {', '.join(candidates)}; name one with --{flag}")


def _mixed_labels(rows: datasets.Dataset, column: str, name: str) -> str:
    """Says where the labels of a JSON file change their kind, or what they are instead of labels."""
    with contextlib.suppress(UnicodeDecodeError):
        first = rows[0][column]
        for row, value in enumerate(rows[column], start=1):
            if isinstance(value, (list, dict)):
                break
            if type(value) is not type(first):
                return f"{name}: row {row} has the label {value!r}, row 1 has {first!r}; use one kind"
    return f"--label_column={column}: holds {rows.features[column]} in {name}, not a number or a name"


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(_first_undecodable(file)) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); make it readable or move it away") from None


def _first_undecodable(path: Path) -> str:
    """Says which line and byte of a file is not UTF-8."""
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
    """Says which line of a JSON lines file is not an object, if one isn't."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f'file line {number} is not an object such as {{"text": "…", "label": 1}}'
            except ValueError as error:
                return f"file line {number}: {error}"
    return None
