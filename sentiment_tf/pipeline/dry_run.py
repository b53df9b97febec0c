"""--dry_run: what a run would work on and need, without training: rows, lengths, padding, disk, memory, time."""

import dataclasses
import logging
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import batching, loading
from sentiment_tf.data.registry import Depth
from sentiment_tf.distributed import cluster
from sentiment_tf.modeling import feature_cache, features, frozen
from sentiment_tf.pipeline import cost_estimate, depth_search, fine_tuning, setup
from sentiment_tf.pipeline.setup import RunState
from sentiment_tf.reporting import formatting, summary
from sentiment_tf.system.timing import Clock

BARS, BAR_WIDTH = 8, 40

# What export and report add to the process: their libraries, and copies of the weights.
EXPORT_BYTES, EXPORT_COPIES = 300e6, 3

log = logging.getLogger("sentiment_tf")


def report(config: TrainConfig, splits: loading.Splits, clock: Clock) -> str:
    """Loads the model, times samples of the work, and describes the run in lines for a terminal.

    Args:
      config: Validated and resolved.
      splits: Rows of each split.
      clock: The times of the steps before this one.
    """
    if cluster.from_environment(config.strategy):
        log.info("what follows is for this worker alone; the others would share its work")
        config = dataclasses.replace(config, strategy="default")
    state = setup.prepare(config, splits, clock)
    depths = _depths(config, state.model.config.num_hidden_layers)
    # Found before anything is timed: the cache knows features by the weights that made them.
    computed = {depth: _must_compute(config, state, depth) for depth in depths}
    needed = _feature_bytes(state, [depth for depth in depths if computed[depth]])
    lengths = np.concatenate([tokens.lengths for tokens in state.tokens.values()])
    parts = [
        _rows(state),
        length_histogram(lengths, config.max_length),
        summary.aligned([*_padding(config, state, depths), *_parameters(config, state, depths)]),
        summary.aligned([*_devices(state)]),
    ]
    logging.disable(logging.INFO)  # the timed steps log as the run does
    try:
        parts.append(_minutes(config, state, computed, clock.seconds))
    finally:
        logging.disable(logging.NOTSET)
    return "\n\n".join([*parts, summary.aligned([*_disk(config, needed), *_memory(config, state, needed)])])


def _depths(config: TrainConfig, blocks: int) -> list[Depth]:
    """Returns the depths that are trained one after another, whatever a search finds."""
    if config.depth == "auto":
        return [*depth_search.first_depths(config, blocks)]
    return list(dict.fromkeys([0, config.fixed_depth] if config.stages else [config.fixed_depth]))


def _rows(state: RunState) -> str:
    """Tabulates rows, classes and truncated texts of each split."""
    names = state.splits.label_names
    cells = [["split", "rows", *names, "cut at --max_length"]]
    for split, labels in state.labels.items():
        counts = [*np.bincount(labels, minlength=len(names)), state.tokens[split].truncated.sum()]
        cells.append([split, f"{len(labels):,}", *(f"{n:,} ({n / max(len(labels), 1):.1%})" for n in counts)])
    return summary.aligned(cells)


def length_histogram(lengths: np.ndarray, max_length: int) -> str:
    """Draws the distribution of text lengths, in bars for equally many lengths each.

    Args:
      lengths: int[texts] of 1 to ``max_length`` tokens.
      max_length: The run's ``--max_length``.
    """
    width = max(-(-int(lengths.max(initial=1)) // BARS), 1)
    counts = np.bincount((lengths - 1) // width, minlength=1)
    cells = [["tokens", "texts", ""]]
    for number, count in enumerate(counts):
        span = f"{number * width + 1}–{min((number + 1) * width, max_length)}"
        cells.append([span, f"{count:,}", "█" * round(BAR_WIDTH * count / counts.max())])
    return summary.aligned(cells)


def _padding(config: TrainConfig, state: RunState, depths: list[Depth]) -> Iterator[list[str]]:
    lengths = state.tokens["train"].lengths
    if any(cost_estimate.has_frozen_blocks(state, depth) for depth in depths):
        waste = 1 - lengths.sum() / frozen.token_slots(lengths, config.max_length, state.frozen_dtype)
        yield ["padding in frozen layers", f"{waste:.1%} of the token slots"]
    if depths == [0]:
        yield ["padding in training", "none: the head reads one vector per text"]
    else:
        plan = batching.training_plan(lengths, batch_size=config.batch_size, seed=config.seed, epoch=0)
        share = batching.padding_share(lengths, plan, config.max_length, least=config.least_width)
        yield ["padding in training", f"{share:.1%} of the token slots"]


def _parameters(config: TrainConfig, state: RunState, depths: list[Depth]) -> Iterator[list[str]]:
    total = state.model.count_params()
    for depth in dict.fromkeys([depths[0], depths[-1]]):
        layers = setup.make_trainable(config, state, depth)
        trained = sum(int(np.prod(variable.shape)) for variable in layers.trainable_variables)
        at = f" at depth {depth}" if len(depths) > 1 else ""
        yield [f"parameters{at}", f"{trained:,} trainable, {total - trained:,} frozen"]


def _devices(state: RunState) -> Iterator[list[str]]:
    strategy = state.strategy
    yield ["strategy", f"{type(strategy).__name__}, replicas: {strategy.num_replicas_in_sync}"]
    yield ["devices", ", ".join(device.name for device in tf.config.list_logical_devices())]
    frozen = (
        f", frozen layers of training rows in {state.frozen_dtype.name}"
        if state.frozen_dtype != state.compute_dtype
        else ""
    )
    yield ["matrix multiplications in", state.compute_dtype.name + frozen]


def _minutes(config: TrainConfig, state: RunState, computed: dict[Depth, bool], spent: dict[str, float]) -> str:
    """Tabulates the time of each step of the run, and of the run."""
    of_head = dataclasses.replace(config, epochs=fine_tuning.HEAD_EPOCHS) if config.stages else config
    of_depth = {
        depth: cost_estimate.estimate(config if depth else of_head, state, depth, start=spent["start"])
        for depth in computed
    }
    features = [steps["features"] * computed[depth] for depth, steps in of_depth.items()]
    training = {depth: config.seeds * steps["train"] for depth, steps in of_depth.items()}
    seconds = spent | [*of_depth.values()][-1]
    # One pass makes the features of all depths if there is a cache to keep them.
    seconds |= {"features": max(features) if config.cache == "on" else sum(features), "train": sum(training.values())}
    cells = [[name.replace("_", " "), formatting.duration(value)] for name, value in seconds.items()]
    if len(training) > 1:
        cells += [[f"train at depth {depth}", formatting.duration(value)] for depth, value in training.items()]
    total = sum(seconds.values())
    run = f"about {formatting.duration(total)}"
    if config.stages:
        run += ", at most: the head stops when it has converged"
    if config.time_budget:
        longest = total - seconds["train"] + max(60 * config.time_budget, seconds["train"])
        run += f", with the other depths of --time_budget={config.time_budget:g} at most {formatting.duration(longest)}"
    return summary.aligned([*cells, ["the run", run]])


def _must_compute(config: TrainConfig, state: RunState, depth: Depth) -> bool:
    """Returns whether the run computes features at a depth: some are needed and not in the cache."""
    if not cost_estimate.has_frozen_blocks(state, depth):
        return False
    key: dict[str, Any] = {"depth": depth, "cache_dir": config.cache_dir}
    folders = [
        feature_cache.folder_of(state.model, tokens, compute_dtype=state.frozen_dtype_of(split), **key)
        for split, tokens in state.tokens.items()
    ]
    return config.cache == "off" or not all(folder.exists() for folder in folders)


def _feature_bytes(state: RunState, depths: list[Depth]) -> int:
    """Returns the bytes of the features at these depths; the test split is scored at the outermost alone."""
    layouts = [
        features.layout(state.model, tokens, depth)
        for depth in depths
        if depth != "all"
        for split, tokens in state.tokens.items()
        if split != "test" or depth in (0, depths[-1])
    ]
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in layouts)


def _disk(config: TrainConfig, needed: int) -> Iterator[list[str]]:
    """Compares the features (``needed`` bytes) with the free space in the places that the run writes to."""
    if config.cache == "on":
        least = "at least " if config.time_budget else ""
        yield ["features to cache", f"{least}{formatting.size(needed)}"]
        yield ["free for the cache", f"{formatting.size(_free(config.cache_dir))} ({config.cache_dir})"]
    else:
        yield ["features in memory", formatting.size(needed)]
    final = Path(config.output_dir) / config.run_name
    taken = ", a run is there already" if final.exists() else ""
    yield ["free for the run", f"{formatting.size(_free(config.output_dir))} ({final}{taken})"]


def _memory(config: TrainConfig, state: RunState, needed: int) -> Iterator[list[str]]:
    """Adds to the peak of this process what a run needs beyond it."""
    added = EXPORT_BYTES + EXPORT_COPIES * 4 * state.model.count_params() + (config.cache == "off") * needed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    yield ["peak memory", f"about {formatting.size(peak + added)}"]
    for device in tf.config.list_logical_devices("GPU"):
        used = tf.config.experimental.get_memory_info(device.name.split("device:")[1])["peak"]
        yield [f"peak of {device.name}", f"about {formatting.size(used)}"]


def _free(folder: str) -> int:
    """Returns the free bytes where a folder is or would be made."""
    path = Path(folder).absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free
