"""A tf.data pipeline that reads batch plans."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


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
    """Builds a tf.data pipeline from plans; batches are gathered ahead of the training loop.

    Args:
      plan_of_epoch: Function from an epoch, counted from 0, to int64[steps, batch_size]; called when the epoch begins.
      epochs: Number of epochs.
      gather: Function from the row numbers of one batch to a nest of arrays with the structure of ``signature``.
      signature: Nest of tf.TensorSpec.
      batch_size: Batch size of the plans.
      first_epoch: First epoch, counted from 0.
      first_step: First step of that epoch, counted from 0; earlier batches are not gathered.

    Returns:
      tf.data.Dataset.
    """
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
    # Every worker reads its own share of the plan; tf.data must not shard it again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    rows = tf.data.Dataset.range(first_epoch, epochs).flat_map(plan).skip(first_step)
    return rows.map(load, num_parallel_calls=2, deterministic=True).prefetch(4).with_options(options)
