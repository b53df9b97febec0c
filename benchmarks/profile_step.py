"""Where the time goes: per-operator times of the trunk's forward pass and of a training step; what bounds both.

  .venv/bin/python benchmarks/profile_step.py --what=trunk --precision=bfloat16
  .venv/bin/python benchmarks/profile_step.py --what=step --trainable=all --precision=bfloat16
  .venv/bin/python benchmarks/profile_step.py --what=matmul --precision=float32

Prints, for each kind of TensorFlow operation, its calls and milliseconds per batch and its share of all. Times are
summed over threads, so that with two batches or half-batches side by side they add up to more than the clock shows.
``matmul`` prints the operations per second of a block's matrix products and nothing else, one on each core as the trunk
has them: the bound of every forward pass.
"""

import argparse
import collections
import dataclasses
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "peers"))
import common
import numpy as np
import ours
import ours_common
import ours_forward
import tensorflow as tf

from sentiment_tf.data import loading, packaged
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.distributed import strategies
from sentiment_tf.modeling.frozen import TOKENS_AT_ONCE
from sentiment_tf.system import runtime
from sentiment_tf.training import fitting

OPERATION = re.compile(r"[^:]+:(_?[A-Z]\w*)")  # "layer/name:MatMul"; other events have no colon, or two
BLOCK_MATRICES = ((384, 1152), (384, 384), (384, 1536), (1536, 384))  # of MiniLM
CONTAINERS = ("Call", "Dataset", "If", "IteratorGetNext", "While")  # hold or await other operations


def main() -> None:
    """Runs the work once to build graphs and kernels, once under the profiler, and prints the table."""
    arguments = _parse()
    if arguments.what == "matmul":
        return _print_matmul_rates(strategies.COMPUTE_DTYPES[ours_common.PRECISIONS[arguments.precision]])
    with tempfile.TemporaryDirectory(prefix="profile-") as scratch:
        arguments.model, arguments.scratch = str(packaged.convert_minilm(Path(scratch) / "model")), scratch
        rows = loading.load(DataSettings(dataset="rotten_tomatoes", offline=True)).rows["train"].shuffle(seed=0)
        rows = rows[: arguments.batches * arguments.batch_size]
        work = {"trunk": _trunk, "step": _step}[arguments.what](arguments, rows["text"], rows["label"])
        work()
        tf.profiler.experimental.start(scratch, tf.profiler.experimental.ProfilerOptions(host_tracer_level=2))
        work()
        tf.profiler.experimental.stop()
        _print(_times(Path(scratch)), arguments.batches)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("trunk", "step", "matmul"), default="trunk")
    parser.add_argument("--precision", choices=tuple(ours_common.PRECISIONS), default="float32")
    parser.add_argument("--trainable", default="all", help="Of a step: head, all, or the number of blocks.")
    parser.add_argument("--batches", type=int, default=20)
    arguments = parser.parse_args()
    arguments.depth = common.depth(arguments.trainable) if arguments.what == "step" else 0
    arguments.batch_size = common.BATCH_SIZE if arguments.what == "step" else common.FORWARD_BATCH_SIZE
    arguments.seed, arguments.learning_rate, arguments.epochs = 0, 1e-5, 2
    return arguments


def _trunk(arguments, texts, _):
    """Returns a function that runs the encoder over all batches."""
    forward = ours_forward.load(arguments)
    batches = ours_forward.prepare(forward, texts)
    return lambda: ours_forward.run(forward, batches)


def _step(arguments, texts, labels):
    """Returns a function that trains one epoch."""
    loaded = ours_common.load(arguments)
    inputs = ours.features_of(loaded, texts, compute_dtype=loaded.frozen_dtype, cache_dir=None)
    labels = np.asarray(labels, np.int32)
    config = ours.compile_model(loaded, arguments, rows=len(texts))
    one_epoch = dataclasses.replace(config, epochs=1)
    return lambda: fitting.fit(one_epoch, loaded.tail, inputs, labels)


def _times(folder: Path) -> dict[str, list[float]]:
    """Returns for each kind of operation the milliseconds of each of its calls."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    times = collections.defaultdict(list)
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            operation = OPERATION.fullmatch(plane.event_metadata[event.metadata_id].name)
            if operation and not any(word in operation[1] for word in CONTAINERS):
                times[operation[1]].append(event.duration_ps / 1e9)
    return times


def _print_matmul_rates(dtype: tf.DType) -> None:
    print("| rows x inner x columns | GFLOP/s, median of 9 | best |\n|---|---|---|")
    for inner, columns in BLOCK_MATRICES:
        rates = [_matmul_rate(inner, columns, dtype) for _ in range(10)][1:]  # the first one makes the kernel
        print(f"| {TOKENS_AT_ONCE} x {inner} x {columns} | {np.median(rates):.0f} | {max(rates):.0f} |")


def _matmul_rate(inner: int, columns: int, dtype: tf.DType, times: int = 400) -> float:
    left, right = tf.ones([TOKENS_AT_ONCE, inner], dtype), tf.ones([inner, columns], dtype)
    began = time.perf_counter()
    for _ in runtime.side_by_side(lambda _: tf.matmul(left, right), range(times), workers=runtime.cores()):
        pass
    return times * 2 * TOKENS_AT_ONCE * inner * columns / (time.perf_counter() - began) / 1e9


def _print(times: dict[str, list[float]], batches: int) -> None:
    total = sum(map(sum, times.values()))
    print("| operation | calls per batch | ms per batch | share |\n|---|---|---|---|")
    for name, calls in sorted(times.items(), key=lambda item: -sum(item[1])):
        if sum(calls) > 0.003 * total:
            print(f"| {name} | {len(calls) / batches:.1f} | {sum(calls) / batches:.2f} | {sum(calls) / total:.1%} |")
    print(f"| all | | {total / batches:.2f} | 100% |")


if __name__ == "__main__":
    main()
