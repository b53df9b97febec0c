"""Files and folders that survive a crash, locks between processes, and recognising a full disk."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import filelock
import xxhash

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries in C++ and Rust raise exceptions of their own types; the operating system's message is inside.
_FULL_MESSAGES = tuple(os.strerror(number) for number in _FULL)
_LOCK = "lock"  # the file in an `atomic_folder` that is locked
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def is_full(error: BaseException) -> bool:
    """Returns whether an error says that a disk, a quota or the file-size limit is used up."""
    return getattr(error, "errno", None) in _FULL or any(message in str(error) for message in _FULL_MESSAGES)


def allocate(path: Path, size: int) -> None:
    """Creates a file of ``size`` zero bytes and reserves its blocks now.

    In a memory-mapped file with holes, a block is allocated when its page is first written; on a full disk that
    raises SIGBUS, which ends the process without a message.

    Raises:
      OSError: The disk has too little space.
    """
    with open(path, "wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def checksum(path: Path) -> str:
    """Returns the XXH3 hash of a file's content, 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def atomic_write(path: Path, write: Callable[[BinaryIO], object], *, with_checksum: bool = False) -> Path:
    """Writes a file that is there whole or not at all, even after a kill or a power cut.

    The content goes to ``.building`` in the same folder, which is then renamed, so only one process at a time may
    write into a folder. A killed process leaves at most that one file, which the next write replaces.

    Args:
      path: The file to write or replace.
      write: Called with the open file.
      with_checksum: Whether the content's `checksum` is added to the name: ``name-<checksum>.suffix``.

    Returns:
      The file that was written.

    Raises:
      OSError: The file cannot be written; what was there before is unchanged.
    """
    building = path.with_name(".building")
    try:
        with open(building, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if with_checksum:
            path = path.with_stem(f"{path.stem}-{checksum(building)}")
        os.rename(building, path)
    except BaseException:
        building.unlink(missing_ok=True)  # on a full disk, its space is needed
        raise
    sync_entries(path.parent)
    return path


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which becomes ``folder`` when the block ends without an exception.

    If another process has created ``folder`` meanwhile, that one is kept. The folder is built inside a hidden folder
    beside its final place, locked while this process lives (see `delete_leftovers`).

    Args:
      folder: The final place; its parent exists.

    Raises:
      OSError: The folder cannot be created or renamed.
    """
    hidden, lock = _locked_folder(folder)
    try:
        building = hidden / folder.name
        building.mkdir()  # the folder around it is readable by this user alone, this one as its neighbours are
        yield building
        try:
            os.rename(building, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        lock.release()


def delete_leftovers(parent: Path) -> None:
    """Deletes what killed processes left of `atomic_folder` in a folder; those of living processes are kept.

    Args:
      parent: The folder of the final places. Nothing else in it may have a name of the form ``.*-*``.
    """
    for left in parent.glob(".*-*"):
        # An error means: its process is alive, or has just removed it, or the folder is another user's.
        with contextlib.suppress(OSError):
            lock = acquire_lock(left / _LOCK)
            if lock.is_locked:
                shutil.rmtree(left, ignore_errors=True)
                lock.release()


def _locked_folder(folder: Path) -> tuple[Path, filelock.BaseFileLock]:
    """Returns a new hidden folder beside ``folder`` and the lock that protects it from `delete_leftovers`."""
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        # Another process may have listed the new folder and deleted it before it was locked: then make another one.
        # filelock raises FileExistsError if that happens while it makes sure that the folder is there.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            return hidden, acquire_lock(hidden / _LOCK, timeout=-1)


def acquire_lock(path: Path, *, timeout: float = 0) -> filelock.BaseFileLock:
    """Acquires an exclusive lock on a file; the operating system releases it when the process ends, however it ends.

    Args:
      path: The lock file, created if it is missing. Only the holder may delete it.
      timeout: Seconds to wait for another process; negative to wait without a limit.

    Returns:
      The lock. Its ``is_locked`` is false if the file system supports no locks.

    Raises:
      filelock.Timeout: Another process holds the lock.
      OSError: The file cannot be created.
    """
    # filelock's own substitute, a file that exists while the lock is held, would survive a killed process.
    lock = filelock.FileLock(path, timeout=timeout, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return lock


def sync(folder: Path) -> None:
    """Flushes a folder and everything in it to the disk, so that it survives a power cut."""
    for path in [*folder.rglob("*"), folder]:
        sync_entries(path)


def sync_entries(path: Path) -> None:
    """Flushes a file's content, or the list of names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
