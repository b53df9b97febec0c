"""Which texts stand in which batch: plans, made in NumPy from (lengths, seed, epoch), and their tf.data form.

A plan is int64[steps, batch_size] of row numbers; `PAD_ROW` stands for no row. A plan says everything about
the order of training, so that step n of epoch e is the same batch in every process and after every restart.
"""

from collections.abc import Callable, Sequence

import numpy as np

PAD_ROW = -1
POOL = 64  # batches that are sorted by length together: enough to waste little, few enough to stay random
WIDTH_MULTIPLE = 4  # widths are rounded up to it: fewer shapes, aligned rows


def training_plan(lengths: np.ndarray, *, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Plans an epoch: every row exactly once, in random order, texts of like length together.

    Rows are shuffled, cut into pools of `POOL` batches, sorted by length inside each pool, cut into
    batches, and the batches shuffled. The end of an incomplete batch holds `PAD_ROW`; such rows
    have weight 0 in the loss, so that each text weighs the same.

    Args:
      lengths: int[rows]; all equal where padding costs nothing.
      batch_size: rows per batch.
      seed: Random seed of the run.
      epoch: counted from 0.

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
    """Returns a worker's share of a plan, a row for each of its replicas at each step.

    Every row of the plan is in exactly one share. A batch is in order of length: dealt out in turn, so that no
    worker gets its long texts.

    Args:
      plan: int64[steps, batch_size].
      worker: from 0.
      workers: how many.
      replicas: of each worker.

    Returns:
      int64[steps × replicas, batch_size / (workers × replicas)].
    """
    steps, batch_size = plan.shape
    return plan[:, worker::workers].reshape(steps * replicas, batch_size // (workers * replicas))


def evaluation_plan(lengths: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Plans one pass in order of length, every row exactly once; int64[steps, batch_size] with `PAD_ROW`."""
    return _rows_to_batches(np.argsort(lengths, kind="stable"), batch_size)


def padded_width(lengths: np.ndarray, most: int, *, least: int = 2) -> int:
    """Returns the width a batch of these lengths is padded to: a multiple of `WIDTH_MULTIPLE`, up to ``most``."""
    longest = max(int(lengths.max(initial=1)), least)
    return max(min(-(-longest // WIDTH_MULTIPLE) * WIDTH_MULTIPLE, most), longest)


def padding_share(lengths: np.ndarray, plan: np.ndarray, most: int, *, least: int = 2) -> float:
    """Returns the share of padded places among all places that a plan's batches compute, between 0 and 1."""
    batches = [lengths[batch[batch != PAD_ROW]] for batch in plan]
    places = sum(len(batch) * padded_width(batch, most, least=least) for batch in batches)
    return 1.0 - float(lengths.sum()) / max(places, 1)


def to_dataset(
    plan_of_epoch: Callable[[int], np.ndarray],
    epochs: int,
    gather: Callable,
    signature,
    *,
    batch_size: int,
    first_epoch: int = 0,
    first_step: int = 0,
):
    """Turns plans into a tf.data pipeline: epoch after epoch, batches gathered ahead of the training loop.

    Args:
      plan_of_epoch: gives int64[steps, batch_size] for an epoch counted from 0; called when its turn comes.
      epochs: how many.
      gather: turns the row numbers of one batch into a nest of arrays as ``signature`` says.
      signature: nest of tf.TensorSpec.
      batch_size: of the plans.
      first_epoch: where to begin, counted from 0.
      first_step: of that epoch, counted from 0; the batches before it are not even gathered.

    Returns:
      tf.data.Dataset.
    """
    import tensorflow as tf

    flat_signature = tf.nest.flatten(signature)

    def plan(epoch):
        rows = tf.numpy_function(plan_of_epoch, [epoch], tf.int64)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(rows, [None, batch_size]))

    def load(rows):
        arrays = tf.numpy_function(
            lambda rows: tf.nest.flatten(gather(rows)), [rows], [spec.dtype for spec in flat_signature]
        )
        for array, spec in zip(arrays, flat_signature, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(signature, arrays)

    options = tf.data.Options()
    # Every worker reads its own share of the plan; tf.data must not share it out a second time.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    rows = tf.data.Dataset.range(first_epoch, epochs).flat_map(plan).skip(first_step)
    return rows.map(load, num_parallel_calls=2, deterministic=True).prefetch(4).with_options(options)


def pad(
    values: np.ndarray, offsets: np.ndarray, rows: Sequence[int], *, most: int, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Gathers texts of one batch from a flat array and pads them on the right with zeros.

    Args:
      values: [total, …], all texts' entries one after another.
      offsets: int64[texts + 1].
      rows: Of the batch; `PAD_ROW` gives a row with one zero entry.
      most: widest batch allowed.
      least: narrowest batch allowed.

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
