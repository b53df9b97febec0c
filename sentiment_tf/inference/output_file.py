"""The file of predictions: it holds complete records only, and an interrupted one is continued."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_tf.errors import UserError
from sentiment_tf.inference.writers import Layout
from sentiment_tf.system import signals

STDOUT = "-"


class Written(NamedTuple):
    """The content of an existing output.

    Attributes:
      records: Number of complete records, without the header.
      end: Number of bytes up to the end of the last complete record.
      last: The last complete record; empty if there is none.
    """

    records: int
    end: int
    last: bytes


def written(path: str, form: Layout) -> Written:
    """Counts the complete records of an interrupted output.

    Raises:
      UserError: The file is not an output of this layout.
    """
    records, end, last = -bool(form.header), 0, b""
    with open(path, "rb") as file:
        for record in _records(file, quoted=form.quoted):
            if end == 0 and form.header and record != form.header:
                raise UserError(
                    f"--output={path}: its header differs from that of this input and --format; "
                    "resume with the settings of the first run, or name another file"
                )
            records, end, last = records + 1, end + len(record), record
        file.seek(0)
        if end == 0 and (content := file.read()) and not form.begins(content):
            raise UserError(f"--output={path}: holds no complete record; move it away, or name another file")
    return Written(max(records, 0), end, last if records > 0 else b"")


def _records(file, *, quoted: bool) -> Iterator[bytes]:
    """Yields the complete records of a file."""
    record = b""
    for line in file:
        record += line
        if line.endswith(b"\n") and not (quoted and record.count(b'"') % 2):
            yield record
            record = b""


class Output:
    """The output: a file, created with the first records; a special file (`is_special`); or stdout.

    Between writes, a file holds complete records only. A failed write is undone, and Ctrl-C waits until a write ends.
    """

    def __init__(self, path: str, *, append_at: int | None = None):
        """Opens an existing file to append at byte `append_at`; None creates nothing yet."""
        self._path, self._end = path, append_at or 0
        self._file = sys.stdout.buffer if path == STDOUT else None
        self._is_stream = path == STDOUT or is_special(path)  # written bytes cannot be undone
        if self._is_stream and not self._file:
            self._file = self._open("wb")  # here, because opening a pipe waits for its reader, and Ctrl-C must work
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
        """Writes complete records.

        Raises:
          UserError: Somebody else created the file, or the disk is full; the file keeps the earlier records.
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
        """Whether nothing has been written, not even a header."""
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
    """Whether a path can be written but not read back: a device such as /dev/null, or a named pipe."""
    return Path(path).is_char_device() or Path(path).is_fifo()


def exists(path: str) -> str:
    """Returns the message that an output exists already."""
    return f"--output={path}: exists; pass --resume to continue it, or name another file"
