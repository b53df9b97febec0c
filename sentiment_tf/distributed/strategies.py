"""Names to tf.distribute strategies."""

import logging
import os

import tensorflow as tf

from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.system import signals

COMPUTE_DTYPES = {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}

log = logging.getLogger("sentiment_tf")


def make_strategy(name: str, *, batch_size: int, startup_timeout: float = 600.0) -> tf.distribute.Strategy:
    """Returns the strategy of a run.

    Args:
      name: ``auto`` (every worker of TF_CONFIG, else every GPU; one device where there are none or one),
        ``default`` (one device), ``mirrored`` (every GPU, or every logical CPU where there are several and no
        GPU), ``multi_worker`` (every device of every worker of TF_CONFIG), or ``tpu`` (every core of the TPU
        that this machine has, or that TPU_NAME names).
      batch_size: global; must divide by the number of replicas.
      startup_timeout: seconds to wait for the other workers.

    Returns:
      tf.distribute.Strategy: TensorFlow's default one where one device is used.

    Raises:
      UserError: the batch does not divide by the replicas; TF_CONFIG names no other workers, or they do not
        come; there is no TPU.
    """
    workers = cluster.from_environment(name)
    if name == "multi_worker" and workers is None:
        raise UserError("--strategy=multi_worker: TF_CONFIG names no other worker; set it, or pass --strategy=auto")
    makers = {"auto": _every_gpu, "default": _one_device, "mirrored": _mirrored, "tpu": _tpu}
    strategy = _multi_worker(workers, startup_timeout) if workers else makers[name]()
    _check_batch(batch_size, strategy.num_replicas_in_sync)
    log.info("strategy: %s, %s replicas", type(strategy).__name__, strategy.num_replicas_in_sync)
    return strategy


def _multi_worker(workers: cluster.Cluster, startup_timeout: float) -> tf.distribute.Strategy:
    """Makes the strategy over all workers once they are there; it must be made before any operation runs.

    Args:
      workers: of this run.
      startup_timeout: seconds to wait for them.

    Returns:
      tf.distribute.MultiWorkerMirroredStrategy: over every device of every worker.

    Raises:
      UserError: a worker did not come in time, or this one's address cannot be listened on.
    """
    cluster.wait_for_all(workers, timeout=startup_timeout)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    signals.raise_when_terminated()  # TensorFlow has put its own handler there, which ends without a word
    return strategy


def _tpu() -> tf.distribute.Strategy:
    """Makes the strategy over a TPU's cores.

    Returns:
      tf.distribute.TPUStrategy: over every core of the TPU that TPU_NAME names, else of this machine's own.

    Raises:
      UserError: there is no TPU.
    """
    try:
        # A TPU VM reaches its own TPU as "local"; TPU_NAME, which Google Cloud sets, names one elsewhere.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"--strategy=tpu: there is no TPU here ({first_line(error)}); pass --strategy=auto") from error
    return tf.distribute.TPUStrategy(resolver)


def _every_gpu() -> tf.distribute.Strategy:
    """Takes every GPU of this machine.

    Returns:
      tf.distribute.Strategy: `_mirrored` where there is a GPU, else `_one_device`.
    """
    return _mirrored() if tf.config.list_logical_devices("GPU") else _one_device()


def _mirrored() -> tf.distribute.Strategy:
    """Takes every GPU, or every logical CPU where there is no GPU.

    Returns:
      tf.distribute.Strategy: a MirroredStrategy, or `_one_device` where there is only one of them.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return _one_device()  # MirroredStrategy over one device only adds overhead
    # Collectives between logical CPUs meet in any order and may mismatch; GPUs keep NCCL, the default.
    on_cpu = tf.distribute.ReductionToOneDevice() if devices[0].device_type == "CPU" else None
    return tf.distribute.MirroredStrategy([device.name for device in devices], cross_device_ops=on_cpu)


def _one_device() -> tf.distribute.Strategy:
    """Takes one device: the first GPU, else the CPU.

    Returns:
      tf.distribute.Strategy: TensorFlow's default one, which copies nothing.
    """
    return tf.distribute.get_strategy()


def _check_batch(batch_size: int, replicas: int) -> None:
    """Checks that every replica gets as many rows of a batch as the others.

    Args:
      batch_size: global.
      replicas: the strategy's.

    Raises:
      UserError: the batch does not divide by the replicas.
    """
    if batch_size % replicas:
        raise UserError(
            f"--batch_size={batch_size}: must divide by the {replicas} devices in use; "
            f"pass {batch_size // replicas * replicas or replicas} or {(batch_size // replicas + 1) * replicas}"
        )


def compute_dtype(precision: str) -> tf.DType:
    """Returns the matmuls' dtype for a ``--precision``; ``auto`` takes what the hardware multiplies fastest."""
    from sentiment_tf.system.runtime import has_fast_bfloat16

    if precision == "auto":
        if tf.config.list_physical_devices("GPU"):
            precision = "mixed_float16"
        else:
            has_bfloat16 = has_fast_bfloat16() or tf.config.list_logical_devices("TPU")
            precision = "mixed_bfloat16" if has_bfloat16 else "float32"
    return COMPUTE_DTYPES[precision]


def settings_in_use(strategy: tf.distribute.Strategy, compute_dtype: tf.DType) -> dict[str, str]:
    """Returns the ``--strategy`` and ``--precision`` by which a run would get these without ``auto``."""
    names = {
        tf.distribute.MirroredStrategy: "mirrored",
        tf.distribute.MultiWorkerMirroredStrategy: "multi_worker",
        tf.distribute.TPUStrategy: "tpu",
    }
    precisions = {dtype: name for name, dtype in COMPUTE_DTYPES.items()}
    return {"strategy": names.get(type(strategy), "default"), "precision": precisions[compute_dtype]}
