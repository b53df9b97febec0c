"""Strategies and dtypes by the names that the flags --strategy and --precision take."""

import logging
import os

import tensorflow as tf

from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.system import runtime, signals

COMPUTE_DTYPES = {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
BFLOAT16_CAPABILITY = (8, 0)  # first compute capability of NVIDIA GPUs with bfloat16 in hardware

log = logging.getLogger("sentiment_tf")


def make_strategy(name: str, *, batch_size: int, startup_timeout: float = 600.0) -> tf.distribute.Strategy:
    """Returns the strategy of a run.

    Args:
      name: ``auto`` (every worker of TF_CONFIG, else every GPU, else one device), ``default`` (one device),
        ``mirrored`` (every GPU, or every logical CPU if there is no GPU), ``multi_worker`` (every device of every
        worker of TF_CONFIG) or ``tpu`` (every core of this machine's TPU, or of the one that TPU_NAME names).
      batch_size: Global batch size; must be a multiple of the number of replicas.
      startup_timeout: Seconds to wait for the other workers.

    Returns:
      tf.distribute.Strategy: TensorFlow's default strategy if a single device is used.

    Raises:
      UserError: The batch size is not a multiple of the number of replicas; TF_CONFIG lists no other worker, or a
        worker is missing; there is no TPU.
    """
    workers = cluster.from_environment(name)
    if name == "multi_worker" and workers is None:
        raise UserError("--strategy=multi_worker: TF_CONFIG names no other worker; set it, or pass --strategy=auto")
    makers = {"auto": _every_gpu, "default": _one_device, "mirrored": _mirrored, "tpu": _tpu}
    strategy = _multi_worker(workers, startup_timeout) if workers else makers[name]()
    _check_batch(batch_size, strategy.num_replicas_in_sync)
    log.info("strategy: %s, %s replicas", type(strategy).__name__, strategy.num_replicas_in_sync)
    return strategy


def compute_dtype(precision: str) -> tf.DType:
    """Returns the dtype of the trained layers' matrix multiplications; ``auto`` is the fastest on this hardware."""
    return COMPUTE_DTYPES[_fastest_precision() if precision in ("auto", "int8") else precision]


def frozen_dtype(precision: str) -> tf.DType:
    """Returns the dtype of the frozen layers' matrix multiplications for the rows that are trained on.

    ``auto`` takes int8 where the CPU multiplies it in hardware: there it is nearly twice as fast as bfloat16, and the
    trained model as accurate.
    """
    accelerated = tf.config.list_physical_devices("GPU") or tf.config.list_logical_devices("TPU")
    fast = precision == "auto" and runtime.has_fast_int8() and not accelerated
    return tf.int8 if fast or precision == "int8" else compute_dtype(precision)


def settings_in_use(
    strategy: tf.distribute.Strategy, compute_dtype: tf.DType, frozen_dtype: tf.DType
) -> dict[str, str]:
    """Returns the ``--strategy`` and ``--precision`` that give this strategy and these dtypes without ``auto``."""
    names = {
        tf.distribute.MirroredStrategy: "mirrored",
        tf.distribute.MultiWorkerMirroredStrategy: "multi_worker",
        tf.distribute.TPUStrategy: "tpu",
    }
    precisions = {dtype: name for name, dtype in COMPUTE_DTYPES.items()} | {tf.int8: "int8"}
    precision = precisions[frozen_dtype if frozen_dtype == tf.int8 else compute_dtype]
    return {"strategy": names.get(type(strategy), "default"), "precision": precision}


def _fastest_precision() -> str:
    """Returns the ``--precision`` for ``auto``.

    bfloat16 has float32's range and needs no loss scaling, so it is preferred to float16 on GPUs that have both.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        return "mixed_bfloat16" if all(map(_has_bfloat16, gpus)) else "mixed_float16"
    if runtime.has_fast_bfloat16() or tf.config.list_logical_devices("TPU"):
        return "mixed_bfloat16"
    return "float32"


def _has_bfloat16(gpu) -> bool:
    # Only NVIDIA GPUs report a compute capability.
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY


def _multi_worker(workers: cluster.Cluster, startup_timeout: float) -> tf.distribute.Strategy:
    """Returns the strategy over all workers once they have started; no TensorFlow operation may run before."""
    cluster.wait_for_all(workers, timeout=startup_timeout)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    signals.raise_when_terminated()  # TensorFlow has installed its own handler, which exits without a message
    return strategy


def _tpu() -> tf.distribute.Strategy:
    try:
        # "local" is the TPU of a TPU VM; Google Cloud sets TPU_NAME for a TPU elsewhere.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"--strategy=tpu: there is no TPU here ({first_line(error)}); pass --strategy=auto") from error
    return tf.distribute.TPUStrategy(resolver)


def _every_gpu() -> tf.distribute.Strategy:
    return _mirrored() if tf.config.list_logical_devices("GPU") else _one_device()


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return _one_device()  # MirroredStrategy over one device only adds overhead
    # Collectives between logical CPUs may run in any order and mismatch; GPUs keep NCCL, the default.
    on_cpu = tf.distribute.ReductionToOneDevice() if devices[0].device_type == "CPU" else None
    return tf.distribute.MirroredStrategy([device.name for device in devices], cross_device_ops=on_cpu)


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()  # the default strategy: the first GPU, else the CPU, without copies


def _check_batch(batch_size: int, replicas: int) -> None:
    if batch_size % replicas:
        raise UserError(
            f"--batch_size={batch_size}: must be a multiple of the {replicas} devices in use; "
            f"pass {batch_size // replicas * replicas or replicas} or {(batch_size // replicas + 1) * replicas}"
        )
