"""Names to tf.distribute strategies."""

import logging

import tensorflow as tf

from sentiment_tf.errors import UserError

log = logging.getLogger("sentiment_tf")


def make_strategy(name: str, *, batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy of a run.

    Args:
      name: ``auto`` (every GPU; one device where there are none or one), ``default`` (one device), or
        ``mirrored`` (every GPU, or every logical CPU where there are several and no GPU).
      batch_size: global; must divide by the number of replicas.

    Raises:
      UserError: the batch does not divide by the replicas.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    several = len(devices) > 1 and (name == "mirrored" or (name == "auto" and devices[0].device_type == "GPU"))
    if several:
        # Collectives between logical CPUs meet in any order and may mismatch; GPUs keep NCCL, the default.
        on_cpu = tf.distribute.ReductionToOneDevice() if devices[0].device_type == "CPU" else None
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices], cross_device_ops=on_cpu)
    else:  # MirroredStrategy over one device only adds overhead to the same computation
        strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"--batch_size={batch_size}: must divide by the {replicas} devices in use; "
            f"pass {batch_size // replicas * replicas or replicas} or {(batch_size // replicas + 1) * replicas}"
        )
    log.info("strategy: %s, %s × %s", type(strategy).__name__, replicas, devices[0].device_type)
    return strategy


def compute_dtype(precision: str) -> tf.DType:
    """Returns the matmuls' dtype for a ``--precision``; ``auto`` takes what the hardware multiplies fastest."""
    from sentiment_tf.runtime import has_fast_bfloat16

    if precision == "auto":
        if tf.config.list_physical_devices("GPU"):
            precision = "mixed_float16"
        else:
            precision = "mixed_bfloat16" if has_fast_bfloat16() else "float32"
    return {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}[precision]
