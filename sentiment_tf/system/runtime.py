"""Starting TensorFlow: without its start-up messages, and with the thread layout that suits the fused encoder."""

import collections
import contextlib
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from sentiment_tf.errors import UserError

# A training batch is split into parts that run side by side: at most so many, each with at least so many texts. On
# a CPU with more cores, several threads share a part's operations.
LEAST_ROWS, MOST_PARTS = 8, 4
MOST_CORES = "SENTIMENT_TF_MOST_CORES"  # environment variable: cores that a process uses at most


def check_platform() -> None:
    """Checks that TensorFlow Text, which training and the SavedModel need, has builds for this machine.

    Raises:
      UserError: it has none, and nobody has built it here.
    """
    system = platform.system()
    without = system == "Windows" or (system == "Darwin" and platform.machine() != "arm64")
    if without and not importlib.util.find_spec("tensorflow_text"):
        name = {"Windows": "Windows", "Darwin": "Intel Macs"}[system]
        raise UserError(
            f"TensorFlow Text has no builds for {name}: train on Linux (on Windows in WSL 2) or on a Mac with Apple "
            "silicon; a run's LiteRT files answer on Windows, too: predict --engine=litert"
        )


def start(*, deterministic: bool = False):
    """Imports TensorFlow and makes the settings that must precede its first operation.

    On a CPU whole batches run side by side, one per core, and each operation uses one thread (a few, if there are
    many cores): encoder layers consist of many small operations, and splitting one over threads costs a barrier.
    On GPUs memory growth is on, so that a run takes the memory it needs instead of the whole device.

    Args:
      deterministic: Whether TensorFlow must use reproducible kernels, which are slower on a GPU.

    Returns:
      The tensorflow module.

    Raises:
      UserError: this is no machine for TensorFlow; see `check_platform`.
    """
    check_platform()
    with quiet_stderr():
        import tensorflow as tf  # here, for this function says when it loads

        gpus = tf.config.list_physical_devices("GPU")
    # Warnings about slow callbacks and retracing depend on how busy the machine is, and no user can act on them.
    tf.get_logger().setLevel("ERROR")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        tf.config.threading.set_intra_op_parallelism_threads(max(cores() // MOST_PARTS, 1))
        tf.config.threading.set_inter_op_parallelism_threads(cores())
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return tf


def cores() -> int:
    """Returns how many processor cores this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, int(os.environ.get(MOST_CORES, found)))


def side_by_side(function, items: Iterable, *, workers: int) -> Iterator:
    """Yields ``function(item)`` in order, computed on so many threads, at most two items ahead for each."""
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


def has_fast_bfloat16() -> bool:
    """Returns whether the CPU multiplies bfloat16 matrices in hardware (AVX512-BF16 or AMX)."""
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_features())


def has_fast_int8() -> bool:
    """Returns whether the CPU multiplies int8 matrices in hardware (VNNI) and LiteRT is there to use it."""
    return (
        bool({"avx512_vnni", "avx_vnni"} & _cpu_features()) and importlib.util.find_spec("ai_edge_litert") is not None
    )


def _cpu_features() -> set[str]:
    """Returns the names of the instruction sets that Linux lists; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as lines:
            return set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return set()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hides what C++ libraries print on stderr while they load, unless the block raises an exception.

    TensorFlow logs a few lines before its own log level applies; stderr is for errors that a person can fix.
    """
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed: there is nothing to hide
        yield
        return
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115 closed below
    except OSError:  # the disk is full: show the messages rather than fail
        os.close(stderr)
        yield
        return
    with held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
