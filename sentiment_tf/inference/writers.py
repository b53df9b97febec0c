"""Answers beside the rows they belong to, as JSON lines, CSV or text: whole records only, and resumable."""

import contextlib
import csv
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentiment_tf.errors import UserError
from sentiment_tf.inference.readers import Row
from sentiment_tf.system import signals

if TYPE_CHECKING:  # it loads TensorFlow
    from sentiment_tf.evaluation.attributions import Word

STDOUT = "-"
FORMATS = ("json", "csv", "text")
_DIGITS = 6  # of a probability; float32 holds no more
_TOP_WORDS = 5  # of an explanation, in CSV and text; JSON has all
_FOR, _AGAINST, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"
_COLOURED = 0.2  # of the largest weight: words of less keep the terminal's own colour


class Layout(NamedTuple):
    """How answers look in one output.

    Attributes:
      header: bytes before the first record.
      refuse: (row) → why it can't be written in this layout, or None.
      record: (row, label, probabilities float32[classes], words if they are explained) → one record, its line end
        included.
      belongs: (record, row) → whether the record answers the row.
      answer: (record, row) → label and probability in the record, which belongs to the row.
      begins: (bytes) → whether an output of this layout can begin so, cut off before its first record's end.
      quoted: whether a record may hold line ends, between quotation marks.
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

    What is added is called label, probability, probabilities (in CSV probability_<label> for each) and words, with
    "predicted_" before it where the input has such a column itself.

    Args:
      output_format: one of FORMATS.
      columns: the input's.
      label_names: the model's.
      explain: whether answers come with the weights of words: all of them with their places in JSON, the top ones in
        CSV and text.
      colour: whether lines of text show them in the text, too, with a terminal's escape codes.
    """
    return _LAYOUTS[output_format](tuple(columns), tuple(label_names), explain, colour)


def _json_lines(columns: tuple[str, ...], label_names: tuple[str, ...], explain: bool, colour: bool) -> Layout:
    del colour
    added = _apart(("label", "probability", "probabilities", *["words"] * explain), columns)

    def record(row: Row, label: str, probabilities: np.ndarray, words: Sequence["Word"] = ()) -> bytes:
        each = dict(zip(label_names, _rounded(probabilities), strict=True))
        spans = [word._asdict() | {"weight": round(word.weight, _DIGITS)} for word in words]
        answer = dict(zip(added, (label, each[label], each, spans), strict=False))
        return _encode(_json(row.columns | answer) + "\n")

    def belongs(record: bytes, row: Row) -> bool:
        answered = parse(record)
        return is_answer(answered) and answered == answered | _parse(_json(row.columns))

    def begins(content: bytes) -> bool:
        whole = parse(content)  # but for its line end; it may be a row of somebody's file
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
        return f"has the column {clash[0]}, which the first row has not" if clash else None

    def answer(record: bytes, row: Row) -> tuple[str, float]:
        label, probability = (parse(record)[name] for name in added[:2])
        return label, probability

    return Layout(b"", refuse, record, belongs, answer, begins)


def _csv(columns: tuple[str, ...], label_names: tuple[str, ...], explain: bool, colour: bool) -> Layout:
    del colour
    of_classes = (f"probability_{name}" for name in label_names)
    added = _apart(("label", "probability", *of_classes, *["words"] * explain), columns)

    def record(row: Row, label: str, probabilities: np.ndarray, words: Sequence["Word"] = ()) -> bytes:
        each = _rounded(probabilities)
        answer = [label, each[label_names.index(label)], *each, *[_top_words(words)] * explain]
        return _csv_line([*cells(row), *answer])

    def cells(row: Row) -> list[str]:
        return [_cell(row.columns.get(name)) for name in columns]

    def belongs(record: bytes, row: Row) -> bool:
        # Compared as it was written: nothing can fail to be read, and the header says that answers follow.
        return record.startswith(prefix(row))

    def prefix(row: Row) -> bytes:
        return _csv_line([*cells(row), ""])[:-1]

    def refuse(row: Row) -> str | None:
        extra = [name for name in row.columns if name not in columns]
        return f"has the column {extra[0]}, which the first row has not; --format=json can hold it" if extra else None

    def answer(record: bytes, row: Row) -> tuple[str, float]:
        added_cells = record[len(prefix(row)) :].decode()  # the row's own may hold what the csv module cannot read
        label, probability, *_ = next(csv.reader([added_cells]))
        return label, float(probability)

    header = _csv_line([*columns, *added])
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


_LAYOUTS = {"json": _json_lines, "csv": _csv, "text": _text}


class Written(NamedTuple):
    """What stands in an output already.

    Attributes:
      records: how many, the header not counted.
      end: bytes up to the end of the last whole one.
      last: the last whole one, empty where there is none.
    """

    records: int
    end: int
    last: bytes


def written(path: str, form: Layout) -> Written:
    """Counts the whole records of an output that was cut off.

    Raises:
      UserError: it does not begin as this layout does.
    """
    records, end, last = -bool(form.header), 0, b""
    with open(path, "rb") as file:
        for record in _records(file, quoted=form.quoted):
            if end == 0 and form.header and record != form.header:
                raise UserError(
                    f"--output={path}: its header is not the one that this input and --format give; "
                    "resume with the settings it was begun with, or name another file"
                )
            records, end, last = records + 1, end + len(record), record
        file.seek(0)
        if end == 0 and (content := file.read()) and not form.begins(content):
            raise UserError(f"--output={path}: holds no whole answer; move it away, or name another file")
    return Written(max(records, 0), end, last if records > 0 else b"")


def _records(file, *, quoted: bool) -> Iterator[bytes]:
    """Yields the whole records of a file; one that was cut off is left out."""
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and not (quoted and record.count(b'"') % 2):
            yield record
            record = b""


class Output:
    """Where records go: a file, made when the first ones come, a special file (`is_special`), or stdout.

    A file holds whole records at any time but while they are written; a write that fails is taken back, and
    Ctrl-C waits for it.
    """

    def __init__(self, path: str, *, append_at: int | None = None):
        """Opens a file to go on at byte `append_at`; without it nothing is made yet."""
        self._path, self._end = path, append_at or 0
        self._file = sys.stdout.buffer if path == STDOUT else None
        self._is_stream = path == STDOUT or is_special(path)  # what went there can't be taken back
        if self._is_stream and not self._file:
            self._file = self._open("wb")  # here: a pipe lets one wait for its reader, and Ctrl-C must end that
        if append_at is not None:
            self._file = self._open("r+b")
            self._file.truncate(append_at)
            self._file.seek(append_at)

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *raised) -> None:
        if self._file and self._path != STDOUT:
            self._file.close()

    def write(self, records: bytes) -> None:
        """Writes whole records.

        Raises:
          UserError: the file appeared meanwhile, or the disk is full; it holds the records before these.
        """
        with signals.deferred(signal.SIGINT):
            self._file = self._file or self._open("xb")
            rest = memoryview(records)
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
                self._file.flush()
            except BaseException as error:
                self._take_back()
                if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                    go_on = "make room" if self._is_stream else "make room and pass --resume"
                    raise UserError(f"--output={self._path}: {error.strerror}; {go_on}") from None
                raise
            self._end += len(records)

    @property
    def is_empty(self) -> bool:
        """Whether nothing, not even a header, has been written."""
        return self._end == 0

    def _open(self, mode: str):
        try:
            return open(self._path, mode, buffering=0)
        except FileExistsError:
            raise UserError(exists(self._path)) from None
        except OSError as error:
            raise UserError(f"--output={self._path}: {error.strerror}; pass a file that can be written") from None

    def _take_back(self) -> None:
        if not self._is_stream:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)


def is_special(path: str) -> bool:
    """Whether records can be written to a path but not be read back: a device such as /dev/null, or a named pipe."""
    return Path(path).is_char_device() or Path(path).is_fifo()


def exists(path: str) -> str:
    """Words the problem that an output is there already."""
    return f"--output={path}: exists; pass --resume to go on where it stops, or name another file"


def _apart(names: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names, with a prefix if any of them is a column of the input."""
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
    """Returns what stands in a CSV field."""
    if value is None:
        return ""
    return _json(value) if isinstance(value, (dict, list)) else str(value)


def _json(value: Any) -> str:
    """Returns valid JSON: null for NaN and the infinities, which it has no numbers for."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_parse(json.dumps(value, default=str)), ensure_ascii=False)


def _parse(content: str | bytes) -> Any:
    """Reads JSON; a bare NaN or Infinity in it is None."""
    return json.loads(content, parse_constant=lambda name: None)


def _csv_line(cells: Sequence[Any]) -> bytes:
    """Joins cells as the csv module does, which in Python 3.10 can't write a NUL."""
    return _encode(",".join(map(_quoted, map(str, cells))) + "\n")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # lone surrogates, which JSON can hold
