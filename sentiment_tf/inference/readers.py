"""Reads the rows to predict from lines of text, CSV, TSV, JSON lines or Parquet, one at a time, in constant memory."""

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from sentiment_tf.data.columns import TEXT_COLUMNS, find_column, repeated_column, separator_problem
from sentiment_tf.data.settings import compression_problem, content_problem
from sentiment_tf.errors import UserError

STDIN = "-"
FORMATS = ("text", "csv", "tsv", "jsonl", "parquet")

_BY_EXTENSION = {".csv": "csv", ".tsv": "tsv", ".json": "jsonl", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_BY_EXTENSION |= {".parquet": "parquet"}
LONGEST_CELL = 1 << 24  # characters; the csv module's default of 131,072 is less than a long text
_PARQUET_ROWS = 1024  # rows decoded at a time
_LOOKED_AT = 1000  # objects of JSON lines that are searched for a text column
_UNDECODED = re.compile("[\udc80-\udcff]")  # undecodable bytes, after the error handler surrogateescape


@dataclasses.dataclass(frozen=True)
class Row:
    """A row that can be predicted.

    Attributes:
      number: Number of the row, from 1; unreadable rows count too.
      columns: The row's columns, in their order.
      text: The text to classify.
    """

    number: int
    columns: dict[str, Any]
    text: str


@dataclasses.dataclass(frozen=True)
class Broken:
    """A row that cannot be predicted, and why."""

    number: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Source:
    """An open input, for a single pass.

    Attributes:
      name: Name for messages.
      columns: Column names, from the header, the schema or the first row that has a text.
      rows: The rows, in order.
    """

    name: str
    columns: tuple[str, ...]
    rows: Iterator[Row | Broken]


def from_arguments(texts: Sequence[str]) -> Source:
    """Returns the texts of a command line as rows."""
    rows = (Row(number, {"text": text}, text) for number, text in enumerate(texts, 1))
    return Source("the command line", ("text",), rows)


def guess_format(path: str) -> str:
    """Returns the format by a file's extension; stdin and unknown extensions are lines of text."""
    return _BY_EXTENSION.get(os.path.splitext(path)[1].lower(), "text")


@contextlib.contextmanager
def open_source(path: str, *, input_format: str, text_column: str | None) -> Iterator[Source]:
    """Opens an input.

    Args:
      path: A file, or "-" for stdin.
      input_format: One of FORMATS.
      text_column: Name of the text column; None takes the first of TEXT_COLUMNS that exists.

    Raises:
      UserError: The input cannot be read or has no such column.
    """
    if problem := compression_problem(path):
        raise UserError(f"--input={path}: {problem}")
    if input_format == "parquet":
        with _open_parquet(path, text_column) as source:
            yield source
        return
    with _open(path) as file:
        name = "stdin" if path == STDIN else path
        yield from_stream(file, name=name, input_format=input_format, text_column=text_column)


def from_stream(file: io.BufferedReader, *, name: str, input_format: str, text_column: str | None) -> Source:
    """Reads an open file of any format but Parquet.

    Args:
      file: buffered, at its beginning.
      name: as messages name it.
      input_format: one of FORMATS.
      text_column: as in `open_source`.

    Raises:
      UserError: the file can't be read or has no such column.
    """
    if problem := content_problem(file.peek(8)):
        raise UserError(f"{name}: {problem}")
    if file.peek(3).startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    columns, rows = _READERS[input_format](file, text_column, name)
    return Source(name, columns, rows)


def _open(path: str):
    if path == STDIN:
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"--input={path}: {error.strerror}; pass a file to read, or - for stdin") from None


_Opened = tuple[tuple[str, ...], Iterator[Row | Broken]]


def _read_text(file: io.BufferedReader, text_column: str | None, name: str) -> _Opened:
    """Reads one text per line."""
    if text_column:
        raise UserError(
            f"--text_column={text_column}: {name} is read as lines of text, which have no columns; omit the flag"
        )

    def rows():
        for number, line in enumerate(file, 1):
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield Broken(number, _not_utf8(error))
            else:
                yield Row(number, {"text": text}, text)

    return ("text",), rows()


def _read_csv(file: io.BufferedReader, text_column: str | None, name: str) -> _Opened:
    """Reads a header and rows of comma-separated fields, which may be quoted."""
    csv.field_size_limit(LONGEST_CELL)
    return _read_table(csv.reader(map(_decode, file), strict=True), text_column, name)


def _read_tsv(file: io.BufferedReader, text_column: str | None, name: str) -> _Opened:
    """Reads a header and rows of tab-separated fields; a quotation mark is part of the text, as in GLUE."""
    csv.field_size_limit(LONGEST_CELL)
    records = csv.reader(map(_decode, file), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    return _read_table(records, text_column, name)


def _read_table(records: Iterator[list[str]], text_column: str | None, name: str) -> _Opened:
    try:
        columns = tuple(next(records, ()))
    except csv.Error as error:
        raise UserError(f"{name}: the header cannot be read ({error}); the first line must name the columns") from None
    if _UNDECODED.search("".join(columns)):
        raise UserError(f"{name}: the header cannot be read (not UTF-8); the first line must name the columns")
    text_column = find_text_column(columns, text_column, name)

    def rows():
        """Yields the rows after the header."""
        numbers = itertools.count(1)
        while (record := _next_record(records)) is not None:
            if isinstance(record, str):
                yield Broken(next(numbers), record)
            elif undecoded := _UNDECODED.search("".join(record)):
                yield Broken(next(numbers), f"not UTF-8 (byte {ord(undecoded[0]) - 0xDC00:#04x})")
            elif len(record) == len(columns):
                cells = dict(zip(columns, record, strict=True))
                yield Row(next(numbers), cells, cells[text_column])
            elif record:  # a blank line is no row
                yield Broken(next(numbers), f"{len(record)} fields, where the header has {len(columns)}")

    return columns, rows()


def _next_record(records: Iterator[list[str]]) -> list[str] | str | None:
    """Returns the next record, a message if it is malformed, or None at the end."""
    try:
        return next(records, None)
    except csv.Error as error:
        return str(error)


def _decode(line: bytes) -> str:
    """Decodes a line; undecodable bytes are kept and reported later, as the record may continue on the next line."""
    return line.decode("utf-8", "surrogateescape")


def _read_jsonl(file: io.BufferedReader, text_column: str | None, name: str) -> _Opened:
    """Reads one object per line; the first of `_LOOKED_AT` objects that has a text column determines the columns."""
    if file.peek(1).lstrip().startswith(b"["):
        raise UserError(f"{name}: is a JSON array; one object per line is expected: `jq -c '.[]'` converts it")
    objects = (_parse_object(number, line) for number, line in enumerate(file, 1) if line.strip())
    seen = []
    for item in itertools.islice(objects, _LOOKED_AT):
        seen.append(item)
        if isinstance(item, tuple) and find_column(tuple(item[1]), text_column, TEXT_COLUMNS):
            break
    good = [tuple(item[1]) for item in seen if isinstance(item, tuple)]
    columns = next(
        (columns for columns in good if find_column(columns, text_column, TEXT_COLUMNS)), good[0] if good else ()
    )
    text_column = find_text_column(columns, text_column, name) if good else text_column
    rows = (_row(*item, text_column) if isinstance(item, tuple) else item for item in itertools.chain(seen, objects))
    return columns, rows


_READERS = {"text": _read_text, "csv": _read_csv, "tsv": _read_tsv, "jsonl": _read_jsonl}


@contextlib.contextmanager
def _open_parquet(path: str, text_column: str | None) -> Iterator[Source]:
    from pyarrow import ArrowException, parquet  # here, for most files are text, which needs no Arrow

    if path == STDIN:
        raise UserError("--input=-: Parquet cannot be read from a pipe; pass a file")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ArrowException) as error:
        reason = getattr(error, "strerror", None) or f"not a readable Parquet file ({error})"
        raise UserError(f"--input={path}: {reason}; pass a file to read") from None
    with file:
        columns = tuple(file.schema_arrow.names)
        text_column = find_text_column(columns, text_column, path)
        yield Source(path, columns, _read_parquet(file, text_column, path, damage=(OSError, ArrowException)))


def _read_parquet(file, text_column: str, name: str, *, damage: tuple) -> Iterator[Row | Broken]:
    number = 0
    try:
        for batch in file.iter_batches(_PARQUET_ROWS):
            yield from rows_of_batch(batch, text_column, first=number + 1)
            number += batch.num_rows
    except damage as error:
        raise UserError(f"{name}: damaged after row {number} ({error}); fix the file") from None


def rows_of_batch(batch, text_column: str, *, first: int) -> Iterator[Row | Broken]:
    """Yields the rows of an Arrow batch, numbered from ``first``."""
    for number, columns in enumerate(_python_rows(batch), first):
        yield Broken(number, columns) if isinstance(columns, str) else _row(number, columns, text_column)


def _python_rows(batch) -> list[dict[str, Any] | str]:
    """Returns the columns of each row of an Arrow batch, or a message for a row that Python cannot represent."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        return [_python_row(batch.slice(row, 1)) for row in range(batch.num_rows)]


def _python_row(row) -> dict[str, Any] | str:
    columns = {}
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        try:
            columns[name] = cell[0].as_py()
        except UnicodeDecodeError as error:
            return f"column {name} is {_not_utf8(error)}"
        except (ValueError, OverflowError) as error:
            return f"column {name} holds a value that Python cannot represent ({error})"
    return columns


def _parse_object(number: int, line: bytes) -> tuple[int, dict[str, Any]] | Broken:
    try:
        item = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Broken(number, _not_utf8(error))
    except (ValueError, RecursionError) as error:
        return Broken(number, f"not JSON ({error})")
    return (number, item) if isinstance(item, dict) else Broken(number, "not a JSON object")


def _row(number: int, columns: dict[str, Any], text_column: str) -> Row | Broken:
    text = columns.get(text_column)
    if isinstance(text, bytes):  # a binary column of Parquet
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            return Broken(number, f"column {text_column} is {_not_utf8(error)}")
        columns = columns | {text_column: text}
    if isinstance(text, str):
        return Row(number, columns, text)
    held = "nothing" if text is None else f"{type(text).__name__} {text!r:.40}"
    return Broken(number, f"column {text_column} holds {held}, not a text")


def find_text_column(columns: Sequence[str], text_column: str | None, name: str) -> str:
    """Returns the column of a file that holds the text.

    Raises:
      UserError: there is no such column, or a column is there twice; names those that the file `name` has.
    """
    if problem := repeated_column(columns):
        raise UserError(f"{name}: {problem}")
    found = find_column(columns, text_column, TEXT_COLUMNS)
    if found is None and (problem := separator_problem(columns)):
        raise UserError(f"{name}: {problem}")
    if found is None:
        asked = f"--text_column={text_column}: {name} has no such column"
        usual = f"--text_column: no text column found in {name} (looked for {', '.join(TEXT_COLUMNS)})"
        raise UserError(f"{asked if text_column else usual}; pass one of {', '.join(columns) or '(it has no columns)'}")
    return found


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte {error.object[error.start]:#04x})"
