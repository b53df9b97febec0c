"""Batch plans: which rows are in which batch, computed from lengths, seed and epoch alone.

A plan is int64[steps, batch_size] of row numbers; `PAD_ROW` marks an empty slot. The plan alone determines the order of
training, so step n of epoch e is the same batch in every process and after every restart.
"""

from collections.abc import Sequence

import numpy as np

PAD_ROW = -1
POOL = 64  # batches that are sorted by length together: large enough for little padding, small enough for random order
WIDTH_MULTIPLE = 4  # widths are rounded up to a multiple of it: fewer shapes, aligned rows


def training_plan(lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Plans an epoch: every row exactly once, in random order, with texts of similar length in one batch.

    Rows are shuffled and divided into pools of `POOL` batches. Each pool is sorted by length and divided into batches,
    and the batches are shuffled. An incomplete batch is filled with `PAD_ROW`, which has weight 0 in the loss, so every
    text has the same weight.

    Args:
      lengths: int[rows]; all equal if padding costs nothing.
      batch_size: Rows per batch.
      seed: Random seed; the same seed gives the same batches.
      epoch: Number of the epoch, from 0.

    Returns:
      int64[steps, batch_size].
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    size = POOL * batch_size
    pools = [order[start : start + size] for start in range(0, len(order), size)]
    plan = _rows_to_batches(
        np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]), batch_size
    )
    return plan[random.permutation(len(plan))]


def share(plan: np.ndarray, worker: int, workers: int, replicas: int) -> np.ndarray:
    """Returns a worker's share of a plan: at each step, one row of the result for each of its replicas.

    Every row number of the plan is in exactly one share. Batches are sorted by length, so their rows are distributed in
    turn; otherwise one worker would get all long texts.

    Args:
      plan: int64[steps, batch_size].
      worker: Number of the worker, from 0.
      workers: Number of workers.
      replicas: Number of replicas of each worker.

    Returns:
      int64[steps × replicas, batch_size / (workers × replicas)].
    """
    steps, batch_size = plan.shape
    return plan[:, worker::workers].reshape(steps * replicas, batch_size // (workers * replicas))


def evaluation_plan(lengths: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Plans one pass over all rows, sorted by length: int64[steps, batch_size], filled up with `PAD_ROW`."""
    return _rows_to_batches(np.argsort(lengths, kind="stable"), batch_size)


def padded_width(lengths: np.ndarray, most: int, *, least: int = 2) -> int:
    """Returns the width that a batch is padded to: a multiple of `WIDTH_MULTIPLE` if that is not above ``most``."""
    longest = max(int(lengths.max(initial=1)), least)
    return max(min(-(-longest // WIDTH_MULTIPLE) * WIDTH_MULTIPLE, most), longest)


def padding_share(lengths: np.ndarray, plan: np.ndarray, most: int, *, least: int = 2) -> float:
    """Returns the fraction of padding among all token slots of a plan's batches, between 0 and 1."""
    batches = [lengths[batch[batch != PAD_ROW]] for batch in plan]
    slots = sum(len(batch) * padded_width(batch, most, least=least) for batch in batches)
    return 1.0 - float(lengths.sum()) / max(slots, 1)


def pad(
    values: np.ndarray, offsets: np.ndarray, rows: Sequence[int] | np.ndarray, *, most: int, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Gathers the texts of one batch from a flat array and pads them on the right with zeros.

    Args:
      values: [total, …], the entries of all texts, concatenated.
      offsets: int64[texts + 1], index of each text's first entry.
      rows: Row numbers of the batch; `PAD_ROW` gives a row with one zero entry.
      most: Largest width.
      least: Smallest width.

    Returns:
      [batch, width, …] of the values' dtype, and the mask, int32[batch, width].
    """
    lengths = np.where(np.equal(rows, PAD_ROW), 1, offsets[np.add(rows, 1)] - offsets[rows])
    width = padded_width(lengths, most, least=least)
    batch = np.zeros((len(rows), width, *values.shape[1:]), values.dtype)
    for place, row in enumerate(rows):
        if row != PAD_ROW:
            batch[place, : lengths[place]] = values[offsets[row] : offsets[row + 1]]
    return batch, (np.arange(width) < lengths[:, None]).astype(np.int32)


def by_tokens(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Groups texts, the longest first, into batches of at most ``most`` tokens or one text; a list of rows each."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches, start = [], 0
    while start < len(order):
        size = max(most // lengths[order[start]], 1)
        batches.append(order[start : start + size])
        start += size
    return batches


def pad_ids(ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Pads token ids on the right with zeros to the longest row: ids and mask, both int32[rows, width]."""
    shape = [len(ids), max(map(len, ids))]
    padded, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for place, row in enumerate(ids):
        padded[place, : len(row)], mask[place, : len(row)] = row, 1
    return padded, mask


def _rows_to_batches(rows: np.ndarray, batch_size: int) -> np.ndarray:
    missing = -len(rows) % batch_size
    return np.append(rows, np.full(missing, PAD_ROW, np.int64)).reshape(-1, batch_size).astype(np.int64)
