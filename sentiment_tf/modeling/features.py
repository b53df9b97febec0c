"""The trunk × tokens → features, once: what the frozen layers compute is kept on disk for every later epoch and run."""

import collections
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tqdm

from sentiment_tf import disk
from sentiment_tf.data import batching
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import classifier, encoder
from sentiment_tf.runtime import cores
from sentiment_tf.training import exchange

FORMAT = 1  # of the cache; raised whenever the same key would mean other numbers
TOKENS_AT_ONCE = 2048  # per batch of the trunk: its intermediate results stay in one core's cache
log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Features:
    """What the tail is trained on, one entry per text or per token.

    Attributes:
      values: float32[rows, D] ([CLS] vectors), float16[tokens, D] (hidden states), or integer[tokens] (ids).
      offsets: int64[rows + 1] into ``values``, or None where there is one vector per text.
      most: widest batch allowed, the run's ``max_length``.
      least: narrowest batch allowed: ``most``, too, where shapes must be static.
    """

    values: np.ndarray
    offsets: np.ndarray | None
    most: int
    least: int = 2

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int32[rows]: what a batch is padded by; all 1 where there is one vector per text."""
        return np.ones(len(self), np.int32) if self.offsets is None else np.diff(self.offsets).astype(np.int32)

    def gather(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the tail's input for these rows; a `batching.FILLER` row holds zeros or another row's values."""
        if self.offsets is None:
            return {"features": self.values[rows]}
        features, mask = batching.pad(self.values, self.offsets, rows, most=self.most, least=self.least)
        return {"features": features, "attention_mask": mask}

    def signature(self, batch_size: int) -> dict[str, tf.TensorSpec]:
        """Returns the tensors that `gather` gives for so many rows."""
        if self.offsets is None:
            return {"features": tf.TensorSpec([batch_size, self.values.shape[1]], tf.float32)}
        width = self.most if self.least == self.most else None
        return {
            "features": tf.TensorSpec([batch_size, width, *self.values.shape[1:]], self.values.dtype),
            "attention_mask": tf.TensorSpec([batch_size, width], tf.int32),
        }


def compute(
    model,
    tokens: Tokens,
    *,
    depth: int | None,
    compute_dtype: tf.DType,
    max_length: int,
    cache_dir: str | None,
    name: str,
    strategy: tf.distribute.Strategy | None = None,
    least_width: int = 2,
    also: Sequence[int] = (),
) -> Features:
    """Returns the features of a split, from the cache where it has them; several workers compute a share each.

    Args:
      model: loaded classifier.
      tokens: of the split.
      depth: blocks above the cut (None: everything); all blocks or None make the token ids the features.
      compute_dtype: of the trunk's matmuls.
      max_length: of the run.
      cache_dir: the cache's folder, or None to compute in memory and keep nothing.
      name: of the split, for the progress bar.
      strategy: of the run, whose workers share the work; None computes it here.
      least_width: narrowest batch that `Features.gather` gives.
      also: depths that will be asked for later; where the trunk has to run, it caches what they need on its way.

    Raises:
      UserError: the disk has too little space for them.
    """
    if depth is None or depth == model.config.n_layers:
        return Features(tokens.ids, tokens.offsets, max_length, least_width)

    def fill(values: dict[int, np.ndarray]) -> None:
        padding = 1 - tokens.lengths.sum() / max(trunk_places(tokens.lengths, max_length), 1)
        log.info("%s: %.1f %% of the places the trunk computes are padding", name, 100 * padding)
        settings = {"compute_dtype": compute_dtype, "max_length": max_length, "name": name, "strategy": strategy}
        run_trunk(model, tokens, values, **settings)

    if cache_dir is None:
        values = np.empty(*layout(model, tokens, depth))
        fill({depth: values})
    else:
        entries = {
            at: Entry(
                cache_entry(model, tokens, depth=at, compute_dtype=compute_dtype, cache_dir=cache_dir),
                *layout(model, tokens, at),
            )
            for at in (depth, *also)
        }
        values = _cached(entries, depth, fill, name, strategy)
    return Features(values, None if depth == 0 else tokens.offsets, max_length, least_width)


def layout(model, tokens: Tokens, depth: int) -> tuple[tuple[int, int], np.dtype]:
    """Returns shape and dtype of what a trunk leaves of a split: [rows, D] at depth 0, else [tokens, D]."""
    width = model.config.dim
    if depth == 0:
        return (len(tokens.lengths), width), np.dtype(np.float32)
    return (len(tokens.ids), width), np.dtype(np.float16)


def cache_entry(model, tokens: Tokens, *, depth: int, compute_dtype: tf.DType, cache_dir: str) -> Path:
    """Returns the folder in which the cache keeps a split's features; it is absent until they are computed."""
    return Path(cache_dir) / "features" / _key(model, tokens, depth, compute_dtype)


def trunk_places(lengths: np.ndarray, max_length: int) -> int:
    """Returns how many places, padding included, the trunk computes for texts of these lengths."""
    batches = _token_batches(lengths, max_length)
    return sum(len(rows) * batching.padded_width(lengths[rows], max_length) for rows in batches)


def side_by_side(function, items: Iterable, *, workers: int) -> Iterator:
    """Yields ``function(item)`` in order, ``workers`` at a time; few are in flight, so memory stays bounded."""
    pending = collections.deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def run_trunk(model, tokens, values, *, compute_dtype, max_length, name, strategy=None) -> None:
    """Runs the trunk once, longest texts first: what does not fit in memory fails at once.

    Of several workers each computes a share of the batches, and gets the others' shares from them.

    Args are those of `compute`, but for ``values``: by depth, the array to fill, as `layout` says.
    """
    config, depths = model.config, sorted(values, reverse=True)
    devices = [device.name for device in tf.config.list_logical_devices("GPU")] or ["/CPU:0"] * cores()
    blocks = model.distilbert.transformer.layer[: config.n_layers - depths[-1]]
    weights = (
        encoder.read_embeddings(model.distilbert.embeddings),
        tuple(
            encoder.cast_for_compute(encoder.read_block(block, heads=config.n_heads), compute_dtype) for block in blocks
        ),
    )
    replicas = {device: _copy_to(weights, device) for device in set(devices)}

    @tf.function(reduce_retracing=True)
    def forward(weights, ids, mask):
        hidden, done, outputs = encoder.embed(weights[0], tf.cast(ids, tf.int32)), 0, []
        for depth in depths:  # the deeper the cut, the fewer blocks are below it
            below = weights[1][done : config.n_layers - depth]
            hidden = encoder.run_blocks(
                below, hidden, mask, heads=config.n_heads, activation=config.activation, pooled=depth == 0
            )
            outputs.append(hidden)
            done = config.n_layers - depth
        return outputs

    lengths = tokens.lengths
    batches = _token_batches(lengths, max_length)

    def run(numbered):
        """Returns what the trunk makes of a batch at each depth, without padding: [rows, D] or [tokens, D]."""
        number, rows = numbered
        device = devices[number % len(devices)]
        ids, mask = batching.pad(tokens.ids, tokens.offsets, rows, most=max_length)
        with tf.device(device):
            outputs = [output.numpy() for output in forward(replicas[device], tf.constant(ids), tf.constant(mask))]
        return tuple(
            (output[mask.astype(bool)] if depth else output).astype(values[depth].dtype)
            for depth, output in zip(depths, outputs, strict=True)
        )

    def write(rows, output, depth):
        if depth == 0:
            values[depth][rows] = output
            return
        ends = np.cumsum(lengths[rows])
        for row, start, end in zip(rows, ends - lengths[rows], ends, strict=True):
            values[depth][tokens.offsets[row] : tokens.offsets[row + 1]] = output[start:end]

    quiet = not sys.stderr.isatty() or log.level > logging.INFO
    with tqdm.tqdm(total=len(lengths), desc=name, unit=" texts", disable=quiet) as progress:
        compute = functools.partial(side_by_side, run, workers=len(devices))
        like = [values[depth][:0] for depth in depths]
        for rows, outputs in exchange.shared_out(strategy, batches, compute, like=like):
            for depth, output in zip(depths, outputs, strict=True):
                write(rows, output, depth)
            progress.update(len(rows))


def _copy_to(weights, device: str):
    with tf.device(device):
        return tf.nest.map_structure(tf.identity, weights)


def _token_batches(lengths: np.ndarray, max_length: int) -> list[np.ndarray]:
    """Cuts the rows, longest first, into batches of about `TOKENS_AT_ONCE` places."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = batching.padded_width(lengths[order[start : start + 1]], max_length)
        stop = start + max(TOKENS_AT_ONCE // width, 1)
        batches.append(order[start:stop])
        start = stop
    return batches


def _key(model, tokens: Tokens, depth: int, compute_dtype: tf.DType) -> str:
    config = model.config
    digest = hashlib.sha256(
        json.dumps([FORMAT, depth, compute_dtype.name, config.n_heads, config.activation, tokens.fingerprint]).encode()
    )
    for array in classifier.trunk_fingerprint(model, depth):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


class Entry(NamedTuple):
    """A place in the cache, and what belongs there."""

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """What its values take on disk."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def _cached(entries: dict[int, Entry], depth: int, fill, name: str, strategy) -> np.ndarray:
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
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    lock = os.open(building, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems lock no folders; then nobody deletes any
        fcntl.flock(lock, fcntl.LOCK_EX)  # for as long as this process lives
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


def _delete_left_behind(folder: Path) -> None:
    """Deletes what killed processes had computed of this entry; gigabytes would pile up otherwise."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        lock = os.open(left, os.O_RDONLY)
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
