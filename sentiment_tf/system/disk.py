"""Files that outlive a crash, and telling a full disk from other trouble."""

import errno
import os
from pathlib import Path

import xxhash

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries in C++ and Rust raise kinds of their own; the system's words are in them.
_WORDS = tuple(os.strerror(number) for number in _FULL)


def is_full(error: BaseException) -> bool:
    """Returns whether an error says that a disk, a quota or the file-size limit is used up."""
    return getattr(error, "errno", None) in _FULL or any(words in str(error) for words in _WORDS)


def allocate(path: Path, size: int) -> None:
    """Makes a file of ``size`` zero bytes whose blocks are taken now.

    A memory-mapped file with holes is written at the first touch of a page; on a full disk that is a SIGBUS,
    which ends the process without a word.

    Raises:
      OSError: there is no room.
    """
    with open(path, "wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def checksum(path: Path) -> str:
    """Returns the XXH3 of a file's content, 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def sync(folder: Path) -> None:
    """Makes a folder and everything below it outlive a power cut."""
    for path in [*folder.rglob("*"), folder]:
        sync_entries(path)


def sync_entries(path: Path) -> None:
    """Makes a file's content, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
