"""Features on disk: entries are written under another name and renamed, and checked when they are opened."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sentiment_tf.data import batching, token_cache
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.distributed import collectives
from sentiment_tf.errors import NoRoomError, UserError
from sentiment_tf.modeling import (
    distilbert,
    encoder,
    frozen,
    litert_network,
    litert_runtime,
    quantization,
    tflite_graph,
)
from sentiment_tf.system import cache_folder, disk

FOLDER = "features"
RESERVE = 0.1  # share of the free disk space that features for later depths leave to checkpoints and exports

log = logging.getLogger("sentiment_tf")


class Entry(NamedTuple):
    """An entry of the cache: its folder, and the shape and dtype of its values."""

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """Size of the values on disk."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def folder_of(model, tokens: Tokens, *, depth: int, compute_dtype: tf.DType, cache_dir: str) -> Path:
    """Returns the folder of a split's features in the cache; it does not exist until they are computed."""
    return Path(cache_dir) / FOLDER / _key(model, tokens, depth, compute_dtype)


def cached(
    entries: dict[str, dict[int, Entry]], depth: int, fill: Callable, strategy, *, only: Collection[str]
) -> dict[str, tuple]:
    """Returns the memory-mapped values of each split, and the seconds that it took to compute them at the time.

    If any worker lacks an entry or has a damaged one, ``fill`` computes it, together with the missing entries of the
    other depths if every worker has space for all.

    Args:
      entries: By split and depth.
      depth: The depth whose values are returned.
      fill: Called with a split's name and, for each depth, the array to fill.
      strategy: The run's tf.distribute strategy.
      only: Splits whose values are returned; the disk must have space for all.

    Raises:
      NoRoomError: The disk has too little space for all splits, or cannot be written; raised before any computation.
      UserError: An entry that has just been written cannot be read.
    """
    needed = [of_split[depth] for of_split in entries.values()]
    wanted = [entry for of_split in entries.values() for at, entry in of_split.items() if at != depth]
    problems, room = zip(*collectives.all_gather_object(strategy, _look_for_room(needed, wanted)), strict=True)
    if any(problems):
        raise NoRoomError(next(filter(None, problems)))
    if not all(room):
        entries = {name: {depth: of_split[depth]} for name, of_split in entries.items()}
    return {name: _of_split(name, entries[name], depth, fill, strategy) for name in only}


def _of_split(name: str, entries: dict[int, Entry], depth: int, fill: Callable, strategy) -> tuple[np.ndarray, float]:
    found = _open(entries[depth])
    here = [found is not None if at == depth else os.path.exists(entry.folder) for at, entry in entries.items()]
    there = np.all(collectives.all_gather(strategy, np.array([here], np.int32)), axis=0)
    missing = [at for at, is_there in zip(entries, there, strict=True) if not is_there]
    if missing:
        began = time.perf_counter()
        with contextlib.ExitStack() as stack:
            fill(name, {at: stack.enter_context(_new(entries[at], began)) for at in missing})
    else:
        log.info("%s: features found in the cache", name)
    if depth not in missing:
        return found
    if made := _open(entries[depth]):
        return made
    folder = entries[depth].folder
    raise UserError(f"--cache_dir={folder.parent.parent}: {folder} cannot be read; delete it, or pass --cache=off")


def _look_for_room(needed: Sequence[Entry], wanted: Sequence[Entry]) -> tuple[str | None, bool]:
    """Deletes leftovers of killed processes, then compares the missing entries with the free disk space.

    Returns:
      Why the needed entries cannot be computed, or None; and whether the wanted ones fit as well.
    """
    folder = needed[0].folder.parent
    try:
        with cache_folder.reported(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            disk.delete_leftovers(folder)
            least, more = (sum(one.bytes for one in some if not one.folder.exists()) for some in (needed, wanted))
            free = _free_space(folder, least, keep=[one.folder for one in (*needed, *wanted)])
    except UserError as error:
        return str(error), False
    if least > free:
        return (
            f"--cache_dir={folder.parent}: the features need {least:,} bytes and {free:,} are free; "
            "make room, choose another folder, or pass --cache=off"
        ), False
    return None, least + more <= (1 - RESERVE) * free


def _free_space(folder: Path, wanted: int, *, keep: Sequence[Path]) -> int:
    """Returns the free bytes of the disk; where they are fewer than wanted, older entries make room first."""
    free = shutil.disk_usage(folder).free
    if wanted <= free:
        return free
    held = sum(entry.bytes for entry in cache_folder.entries(folder))
    if deleted := cache_folder.shrink([folder], held - (wanted - free), keep=keep):
        log.info("the disk is full: deleted %d of the least recently used features", len(deleted))
    return shutil.disk_usage(folder).free


def keep_in_bounds(cache_dir: str, limit: str) -> None:
    """Deletes the least recently used features and tokens until at most ``limit`` is left of them.

    Those that this or another process has opened stay.

    Args:
      cache_dir: Folder of the cache.
      limit: See `cache_folder.parse_limit`.
    """
    folders = [Path(cache_dir) / name for name in (FOLDER, token_cache.FOLDER)]
    deleted = cache_folder.shrink(folders, cache_folder.parse_limit(limit, cache_dir))
    if deleted:
        size = sum(entry.bytes for entry in deleted)
        log.info("--cache_limit=%s: deleted %d entries of earlier runs (%s bytes)", limit, len(deleted), f"{size:,}")


@contextlib.contextmanager
def _new(entry: Entry, began: float) -> Iterator[np.ndarray]:
    """Yields an array to fill; the entry gets its final name only when it is complete.

    Args:
      entry: The entry to make.
      began: Time at which the computation began, by `time.perf_counter`.
    """
    folder, shape, dtype = entry
    with contextlib.ExitStack() as stack:
        with cache_folder.reported(folder.parent.parent):
            building = stack.enter_context(disk.atomic_folder(folder))
        disk.allocate(building / "values", entry.bytes)
        values = np.memmap(building / "values", dtype, "r+", shape=shape) if shape[0] else np.empty(shape, dtype)
        yield values
        if isinstance(values, np.memmap):
            values.flush()
        record = {"shape": list(shape), "dtype": dtype.name, "xxh3": disk.checksum(building / "values")}
        (building / "features.json").write_text(json.dumps(record | {"seconds": time.perf_counter() - began}))


def _open(entry: Entry) -> tuple[np.ndarray, float] | None:
    """Returns an entry's values, read-only, and the seconds that they took; None if missing, or damaged and removed."""
    folder, shape, dtype = entry
    if not cache_folder.hold(folder):
        return None
    try:
        record = json.loads((folder / "features.json").read_text())
        seconds = float(record.pop("seconds"))
        whole = record == {"shape": list(shape), "dtype": dtype.name, "xxh3": disk.checksum(folder / "values")}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        whole = False
    if not whole:
        log.warning("%s: damaged; computing it again", folder)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    values = np.memmap(folder / "values", dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)
    return values, seconds


def _key(model, tokens: Tokens, depth: int, compute_dtype: tf.DType) -> str:
    named = [code_digest(), depth, compute_dtype.name, distilbert.architecture(model), tokens.fingerprint]
    digest = hashlib.sha256(json.dumps(named).encode())
    for array in distilbert.frozen_weights(model, depth):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


@functools.cache
def code_digest() -> str:
    """Returns a digest of the code that computes and stores features: other code may give other values."""
    modules = (batching, distilbert, encoder, frozen, litert_network, litert_runtime, quantization, tflite_graph)
    sources = [Path(module.__file__).read_bytes() for module in (*modules, sys.modules[__name__])]
    versions = [tf.__version__, importlib.metadata.version("ai-edge-litert")]
    return hashlib.sha256(b"".join([*map(str.encode, versions), *sources])).hexdigest()
