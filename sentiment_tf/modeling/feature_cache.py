"""Features on disk: each entry built beside and renamed, checked when it is opened, made again where it is damaged."""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sentiment_tf import disk, exchange
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import classifier

FORMAT = 2  # of the cache; raised whenever the same key would mean other numbers

log = logging.getLogger("sentiment_tf")


class Entry(NamedTuple):
    """A place in the cache, and what belongs there."""

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """What its values take on disk."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def folder_of(model, tokens: Tokens, *, depth: int, compute_dtype: tf.DType, cache_dir: str) -> Path:
    """Returns the folder in which the cache keeps a split's features; it is absent until they are computed."""
    return Path(cache_dir) / "features" / _key(model, tokens, depth, compute_dtype)


def cached(entries: dict[int, Entry], depth: int, fill, name: str, strategy) -> np.ndarray:
    """Returns the memory-mapped values of a depth; where any worker has none or damaged ones, ``fill`` makes them.

    With them it makes those of the other entries that are missing.
    """
    values = _open(entries[depth])
    there = [values is not None, *(entry.folder.exists() for entry in entries.values())]
    there = exchange.gather(strategy, np.array([there], np.int32)).all(axis=0)
    if there[0]:
        log.info("%s: features found in the cache", name)
        return values
    missing = [at for at, is_there in zip(entries, there[1:], strict=True) if at == depth or not is_there]
    folder = entries[depth].folder.parent
    _check_space(folder, entries[depth].bytes)
    if sum(entries[at].bytes for at in missing) > shutil.disk_usage(folder).free:
        missing = [depth]  # the others may never be asked for
    with contextlib.ExitStack() as stack:
        fill({at: stack.enter_context(_new(entries[at])) for at in missing})
    return _open(entries[depth])


@contextlib.contextmanager
def _new(entry: Entry) -> Iterator[np.ndarray]:
    """Yields values to fill, built beside and renamed: what stands under the final name is always whole."""
    folder, shape, dtype = entry
    _delete_left_behind(folder)
    with _unwritable_told(folder.parent):
        building, lock = _make_locked(folder)
    try:
        disk.allocate(building / "values", entry.bytes)
        values = np.memmap(building / "values", dtype, "r+", shape=shape) if shape[0] else np.empty(shape, dtype)
        yield values
        if shape[0]:
            values.flush()
        record = {"shape": list(shape), "dtype": dtype.name, "xxh3": disk.checksum(building / "values")}
        (building / "features.json").write_text(json.dumps(record))
        _move_into_place(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        os.close(lock)


def _make_locked(folder: Path) -> tuple[Path, int]:
    """Makes a folder to build the entry in; returns it and the descriptor that locks it while this process lives."""
    while True:
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        # Another run that looks for leftovers may lock the new folder first, and deletes it: then make another.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(building, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some network file systems lock no folders; then nobody deletes any
                fcntl.flock(lock, fcntl.LOCK_EX)
            if building.exists():
                return building, lock
            os.close(lock)


def _delete_left_behind(folder: Path) -> None:
    """Deletes what killed processes had computed of this entry; gigabytes would pile up otherwise."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:  # its process has finished it, or given up, since it was listed; or it is another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass  # its process is alive
        finally:
            os.close(lock)


def _open(entry: Entry) -> np.ndarray | None:
    """Returns a cache entry read-only, or None where there is none; a damaged or foreign one is removed."""
    folder, shape, dtype = entry
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / "features.json").read_text())
        whole = record == {"shape": list(shape), "dtype": dtype.name, "xxh3": disk.checksum(folder / "values")}
    except (OSError, ValueError):
        whole = False
    if not whole:
        log.warning("%s: damaged, it is computed again", folder)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return np.memmap(folder / "values", dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)


def _move_into_place(building: Path, folder: Path) -> None:
    try:
        os.rename(building, folder)
    except OSError:
        if not folder.exists():  # else another run made the same entry meanwhile: either copy will do
            raise


@contextlib.contextmanager
def _unwritable_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk.is_full(error):
            raise
        reason = f"cannot be written ({error.strerror})"
        raise UserError(f"--cache_dir={folder.parent}: {reason}; choose another, or pass --cache=off") from error


def _check_space(folder: Path, needed: int) -> None:
    with _unwritable_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"--cache_dir={folder.parent}: the features need {needed:,} bytes and {free:,} are free; "
            "make room, choose another folder, or pass --cache=off"
        )


def _key(model, tokens: Tokens, depth: int, compute_dtype: tf.DType) -> str:
    config = model.config
    digest = hashlib.sha256(
        json.dumps([FORMAT, depth, compute_dtype.name, config.n_heads, config.activation, tokens.fingerprint]).encode()
    )
    for array in classifier.frozen_weights(model, depth):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
