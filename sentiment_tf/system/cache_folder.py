"""A folder of cache entries, each a folder itself: which are in use, and deleting those that were not used for long.

A process that reads an entry holds a shared lock on its folder until it ends, however it ends; what is locked is never
deleted. The folder's time of modification is the time of its last use.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sentiment_tf.errors import UserError
from sentiment_tf.system import disk

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?(%|{'|'.join(_UNITS)})", re.IGNORECASE)

_held: dict[Path, int] = {}  # file descriptors by entry: the locks of this process


class CacheEntry(NamedTuple):
    """An entry: its folder, its size in bytes, and when it was last used (seconds since 1970)."""

    folder: Path
    bytes: int
    used: float


def parse_limit(limit: str, folder: str | os.PathLike) -> int | None:
    """Returns the bytes that a limit such as "25%" (of the disk that holds ``folder``) or "50GB" means.

    Returns None if the text is neither.
    """
    match = _SIZE.fullmatch(limit)
    if match is None:
        return None
    number, unit = float(match[1]), match[2].upper()
    if unit != "%":
        return int(number * _UNITS[unit])
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return int(number / 100 * shutil.disk_usage(path).total)


def entries(folder: Path) -> list[CacheEntry]:
    """Returns the entries of a cache folder, the least recently used first; hidden folders are none."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # another process has just deleted it
            if not path.name.startswith(".") and path.is_dir():
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                found.append(CacheEntry(path, size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.folder))


def hold(entry: Path) -> bool:
    """Protects an entry from deletion until this process ends, and marks it as used.

    Returns:
      Whether the entry exists.
    """
    descriptor = _lock(entry, fcntl.LOCK_SH)
    if descriptor is None:
        return False
    if (before := _held.pop(entry, None)) is not None:
        os.close(before)
    _held[entry] = descriptor
    with contextlib.suppress(OSError):  # somebody else's entry, which may be read only
        os.utime(entry)
    return True


def shrink(folders: Iterable[Path], limit: float, *, keep: Collection[Path] = ()) -> list[CacheEntry]:
    """Deletes entries, the least recently used first, until the others have ``limit`` bytes or less.

    Args:
      folders: The cache's folders.
      limit: Bytes that may stay.
      keep: Entries that stay in any case, as those stay that a process holds.

    Returns:
      What was deleted.
    """
    found = sorted((entry for folder in folders for entry in entries(folder)), key=lambda entry: entry.used)
    deleted = []
    excess = sum(entry.bytes for entry in found) - limit
    for entry in found:
        if excess <= 0:
            break
        if entry.folder not in keep and _delete(entry.folder):
            deleted.append(entry)
            excess -= entry.bytes
    return deleted


@contextlib.contextmanager
def reported(cache_dir: str | os.PathLike) -> Iterator[None]:
    """Turns an error of a folder that cannot be written into a `UserError`; a full disk stays an OSError."""
    try:
        yield
    except OSError as error:
        if disk.is_full(error):
            raise
        reason = f"cannot be written ({error.strerror})"
        raise UserError(f"--cache_dir={cache_dir}: {reason}; choose another, or pass --cache=off") from error


def _delete(entry: Path) -> bool:
    """Deletes an entry unless a process holds it; returns whether it did."""
    descriptor = _lock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        return False
    try:
        doomed = entry.with_name(f".{entry.name}-{os.getpid()}")  # gone at once, even if deleting takes long
        os.rename(entry, doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    except OSError:  # another user's
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(entry: Path, operation: int) -> int | None:
    """Returns a descriptor of an entry's folder with a lock on it; None if it is missing or locked.

    A file system without locks (some network drives) gives no exclusive ones: nothing is deleted there.
    """
    try:
        descriptor = os.open(entry, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        if operation & fcntl.LOCK_EX:
            os.close(descriptor)
            return None
    # Another process may have deleted the folder, and a third made it again, before the lock was granted.
    if entry.exists() and os.path.samestat(os.fstat(descriptor), os.stat(entry)):
        return descriptor
    os.close(descriptor)
    return None
