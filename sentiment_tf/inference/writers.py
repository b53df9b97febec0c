"""The formats of predictions: records next to the rows' own columns, as JSON lines, CSV or text."""

import csv
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentiment_tf.inference.readers import Row

if TYPE_CHECKING:  # it loads TensorFlow
    from sentiment_tf.evaluation.attributions import Word

FORMATS = ("json", "csv", "text")
SAFE_CSV = "safe_csv"  # CSV in which no cell is a formula
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # how a cell begins that spreadsheets run
_DIGITS = 6  # decimals of a probability; float32 has no more
_TOP_WORDS = 5  # of an explanation, in CSV and text; JSON has all
_FOR, _AGAINST, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"
_COLOURED = 0.2  # of the largest weight: words of less keep the terminal's own colour


class Layout(NamedTuple):
    """The functions that write and read back one output format.

    Attributes:
      header: Bytes before the first record.
      refuse: (row) → why the row cannot be written in this format, or None.
      record: (row, label, probabilities float32[classes], words if they are explained) → one record, including its
        line end.
      belongs: (record, row) → whether the record is the row's.
      answer: (record, row) → label and probability in the row's record.
      begins: (bytes) → whether an output that was interrupted in its first record can begin with these bytes.
      quoted: Whether a record may contain line ends between quotation marks.
    """

    header: bytes
    refuse: Callable[[Row], str | None]
    record: Callable[..., bytes]
    belongs: Callable[[bytes, Row], bool]
    answer: Callable[[bytes, Row], tuple[str, float]]
    begins: Callable[[bytes], bool]
    quoted: bool = False


def layout(
    output_format: str,
    *,
    columns: Sequence[str],
    label_names: Sequence[str],
    explain: bool = False,
    colour: bool = False,
) -> Layout:
    """Returns the layout of an output format.

    The added columns are label, probability, probabilities (in CSV one column probability_<label> per class) and, with
    explanations, words. If the input has a column of that name, all of them get the prefix "predicted_".

    Args:
      output_format: One of FORMATS, or SAFE_CSV.
      columns: Column names of the input.
      label_names: Class names of the model.
      explain: Whether answers have the weights of words: all of them with their places in JSON, the top ones in CSV and
        text.
      colour: Whether lines of text show them in the text, too, with a terminal's escape codes.
    """
    return _LAYOUTS[output_format](tuple(columns), tuple(label_names), explain, colour)


def _json_lines(columns: tuple[str, ...], label_names: tuple[str, ...], explain: bool, colour: bool) -> Layout:
    del colour
    added = apart(("label", "probability", "probabilities", *["words"] * explain), columns)

    def record(row: Row, label: str, probabilities: np.ndarray, words: Sequence["Word"] = ()) -> bytes:
        each = dict(zip(label_names, _rounded(probabilities), strict=True))
        spans = [word._asdict() | {"weight": round(word.weight, _DIGITS)} for word in words]
        answer = dict(zip(added, (label, each[label], each, spans), strict=False))
        return _encode(_json(row.columns | answer) + "\n")

    def belongs(record: bytes, row: Row) -> bool:
        answered = parse(record)
        return is_answer(answered) and answered == answered | _parse(_json(row.columns))

    def begins(content: bytes) -> bool:
        whole = parse(content)  # a whole record without its line end could be a row of a user's own file
        return content[:2] in (b"{", b'{"') and (whole is None or is_answer(whole))

    def parse(content: bytes) -> Any:
        try:
            return _parse(content)
        except (ValueError, RecursionError):
            return None

    def is_answer(item: Any) -> bool:
        return isinstance(item, dict) and set(added) <= set(item)

    def refuse(row: Row) -> str | None:
        clash = [name for name in added if name in row.columns]
        return f"has the column {clash[0]}, which the first row lacks" if clash else None

    def answer(record: bytes, row: Row) -> tuple[str, float]:
        label, probability = (parse(record)[name] for name in added[:2])
        return label, probability

    return Layout(b"", refuse, record, belongs, answer, begins)


def _csv(
    columns: tuple[str, ...], label_names: tuple[str, ...], explain: bool, colour: bool, *, safe: bool = False
) -> Layout:
    del colour
    of_classes = (f"probability_{name}" for name in label_names)
    added = apart(("label", "probability", *of_classes, *["words"] * explain), columns)
    neutral = without_formula if safe else str
    written_labels = {neutral(name): name for name in label_names}

    def record(row: Row, label: str, probabilities: np.ndarray, words: Sequence["Word"] = ()) -> bytes:
        each = _rounded(probabilities)
        answer = [neutral(label), each[label_names.index(label)], *each, *[neutral(_top_words(words))] * explain]
        return _csv_line([*cells(row), *answer])

    def cells(row: Row) -> list[str]:
        return [neutral(_cell(row.columns.get(name))) for name in columns]

    def belongs(record: bytes, row: Row) -> bool:
        # Compared as bytes, so that nothing has to be parsed.
        return record.startswith(prefix(row))

    def prefix(row: Row) -> bytes:
        return _csv_line([*cells(row), ""])[:-1]

    def refuse(row: Row) -> str | None:
        extra = [name for name in row.columns if name not in columns]
        return f"has the column {extra[0]}, which the first row lacks; --format=json can hold it" if extra else None

    def answer(record: bytes, row: Row) -> tuple[str, float]:
        added_cells = record[len(prefix(row)) :].decode()  # the csv module cannot read every cell of the input
        label, probability, *_ = next(csv.reader([added_cells]))
        return written_labels.get(label, label), float(probability)

    header = _csv_line(map(neutral, [*columns, *added]))
    return Layout(header, refuse, record, belongs, answer, header.startswith, quoted=True)


def _text(columns: tuple[str, ...], label_names: tuple[str, ...], explain: bool, colour: bool) -> Layout:
    del columns
    labels = [_encode(label) for label in label_names]

    def record(row: Row, label: str, probabilities: np.ndarray, words: Sequence["Word"] = ()) -> bytes:
        text = _one_line(_coloured(row.text, words) if colour else row.text)
        reasons = f"{_one_line(_top_words(words))}\t" * explain
        return _encode(f"{label}\t{probabilities[label_names.index(label)]:.4f}\t{reasons}{text}\n")

    def belongs(record: bytes, row: Row) -> bool:
        *answer, text = record.rsplit(b"\t", 2 + explain)
        return len(answer) == 2 + explain and answer[0] in labels and text == _encode(_one_line(row.text) + "\n")

    def begins(content: bytes) -> bool:
        starts = [label + b"\t" for label in labels]
        return any(content.startswith(start) or start.startswith(content) for start in starts)

    def answer(record: bytes, row: Row) -> tuple[str, float]:
        label, probability, _ = record.decode().split("\t", 2)
        return label, float(probability)

    return Layout(b"", lambda row: None, record, belongs, answer, begins)


_LAYOUTS: dict[str, Callable[..., Layout]] = {
    "json": _json_lines,
    "csv": _csv,
    SAFE_CSV: functools.partial(_csv, safe=True),
    "text": _text,
}


def apart(names: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names, all with a prefix if any of them is a column of the input."""
    while set(names) & set(columns):
        names = tuple(f"predicted_{name}" for name in names)
    return names


def _top_words(words: Sequence["Word"]) -> str:
    """Returns the words of the largest weight, such as "gripping +1.20; dull -0.41"."""
    largest = sorted(words, key=lambda word: -abs(word.weight))[:_TOP_WORDS]
    return "; ".join(f"{word.text} {word.weight:+.2f}" for word in largest)


def _coloured(text: str, words: Sequence["Word"]) -> str:
    """Returns a text with escape codes: green what speaks for the label, red what speaks against it."""
    largest = max((abs(word.weight) for word in words), default=0.0)
    for word in reversed(words):  # from the end, so that places before it stay
        if abs(word.weight) >= _COLOURED * largest:
            paint = _FOR if word.weight > 0 else _AGAINST
            text = f"{text[: word.start]}{paint}{word.text}{_PLAIN}{text[word.end :]}"
    return text


def _rounded(probabilities: np.ndarray) -> list[float]:
    return [round(float(probability), _DIGITS) for probability in probabilities]


def _cell(value: Any) -> str:
    """Returns a value as the content of a CSV field."""
    if value is None:
        return ""
    return _json(value) if isinstance(value, (dict, list)) else str(value)


def _json(value: Any) -> str:
    """Returns valid JSON, with null for NaN and infinities, which JSON lacks."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_parse(json.dumps(value, default=str)), ensure_ascii=False)


def _parse(content: str | bytes) -> Any:
    """Parses JSON; NaN and Infinity become None."""
    return json.loads(content, parse_constant=lambda name: None)


def without_formula(cell: str) -> str:
    """Returns a cell that no spreadsheet runs: an apostrophe stands before what would be a formula; numbers stay.

    The characters are those of OWASP's page on CSV injection (owasp.org/www-community/attacks/CSV_Injection).
    """
    if not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _csv_line(cells: Iterable[Any]) -> bytes:
    """Joins cells as the csv module does; that module cannot write NUL in Python 3.10."""
    return _encode(",".join(map(_quoted, map(str, cells))) + "\n")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # JSON can contain lone surrogates
