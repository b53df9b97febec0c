"""--dry_run: what a run would work on and need, told without training: rows, lengths, padding, disk, memory, time."""

import contextlib
import dataclasses
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sentiment_tf.config import TrainConfig, head_learning_rate
from sentiment_tf.data import batching
from sentiment_tf.distributed import cluster
from sentiment_tf.pipeline import cost_estimate, depth_search, fine_tuning, setup
from sentiment_tf.pipeline.setup import Prepared
from sentiment_tf.reporting import formatting, summary
from sentiment_tf.system.timing import Clock

BARS, BAR_WIDTH = 8, 40

# What export and report add to the process: their libraries, and copies of the weights.
EXPORT_BYTES, EXPORT_COPIES = 300e6, 3

log = logging.getLogger("sentiment_tf")


def report(config: TrainConfig) -> str:
    """Loads data and model, times samples of the work, and describes the run.

    Args:
      config: validated and resolved.

    Returns:
      Lines for a terminal.

    Raises:
      UserError: a mistake that the run would find, too.
    """
    if cluster.from_environment(config.strategy):
        log.info("what follows is for this worker alone; the others would share its work")
        config = dataclasses.replace(config, strategy="default")
    clock = Clock()
    prepared = setup.prepare(config, clock)
    depths = (
        list(range(prepared.model.config.num_hidden_layers + 1))
        if config.trainable_layers == "auto"
        else [config.depth]
    )
    lengths = np.concatenate([tokens.lengths for tokens in prepared.tokens.values()])
    missing = {depth: cost_estimate.missing_features(config, prepared, depth) for depth in depths}
    if config.stages:
        missing[0] = cost_estimate.missing_features(config, prepared, 0)
    needed = feature_bytes(prepared, _kept(config, prepared, missing))
    return "\n\n".join(
        [
            _rows(prepared),
            length_histogram(lengths, config.max_length),
            summary.aligned([*_padding(config, prepared, depths), *_parameters(config, prepared, depths)]),
            summary.aligned([*_devices(prepared)]),
            _minutes(config, prepared, depths, missing, clock.seconds),
            summary.aligned([*_disk(config, needed), *_memory(config, prepared, needed)]),
        ]
    )


def _kept(config: TrainConfig, prepared: Prepared, missing: dict[int | None, list]) -> dict[int | None, list]:
    """Returns those of the missing features, tokens by depth, that the run will compute; of a search, at least."""
    if config.trainable_layers != "auto":
        return missing
    first, test = depth_search.first_depths(config, max(missing)), prepared.tokens.get("test")
    of_tests = (0, max(depth for depth in first if missing[depth] or not depth))  # before training, and once after it
    return {depth: [tokens for tokens in missing[depth] if tokens is not test or depth in of_tests] for depth in first}


def length_histogram(lengths: np.ndarray, max_length: int) -> str:
    """Draws how many texts are how long, in bars of equally many lengths each.

    Args:
      lengths: int[texts] of 1 to ``max_length`` tokens.
      max_length: of the run.
    """
    width = max(-(-int(lengths.max(initial=1)) // BARS), 1)
    counts = np.bincount((lengths - 1) // width, minlength=1)
    cells = [["tokens", "texts", ""]]
    for place, count in enumerate(counts):
        span = f"{place * width + 1}–{min((place + 1) * width, max_length)}"
        cells.append([span, f"{count:,}", "█" * round(BAR_WIDTH * count / counts.max())])
    return summary.aligned(cells)


def _rows(prepared: Prepared) -> str:
    """Tabulates rows, classes and cut texts of each split."""
    names = prepared.splits.label_names
    cells = [["split", "rows", *names, "cut at --max_length"]]
    for split, labels in prepared.labels.items():
        cut = prepared.tokens[split].truncated
        counts = [*np.bincount(labels, minlength=len(names)), cut.sum()]
        cells.append([split, f"{len(labels):,}", *(f"{n:,} ({n / max(len(labels), 1):.1%})" for n in counts)])
    return summary.aligned(cells)


def _padding(config: TrainConfig, prepared: Prepared, depths: list) -> Iterator[list[str]]:
    """Says which share of what trunk and tail compute is padding."""
    from sentiment_tf.modeling import frozen

    lengths = prepared.tokens["train"].lengths
    if any(cost_estimate.has_trunk(prepared, depth) for depth in depths):
        waste = 1 - lengths.sum() / frozen.token_slots(lengths, config.max_length)
        yield ["padding of the trunk", f"{waste:.1%} of its places"]
    if depths == [0]:
        yield ["padding in training", "none: the head reads one vector per text"]
    else:
        plan = batching.training_plan(lengths, batch_size=config.batch_size, seed=config.seed, epoch=0)
        share = batching.padding_share(lengths, plan, config.max_length, least=config.least_width)
        yield ["padding in training", f"{share:.1%} of its places"]


def _parameters(config: TrainConfig, prepared: Prepared, depths: list) -> Iterator[list[str]]:
    total = prepared.model.count_params()
    for depth in sorted({depths[0], depths[-1]}, key=str):
        tail = setup.make_tail(config, prepared, depth)
        trained = sum(int(np.prod(variable.shape)) for variable in tail.trainable_variables)
        at = f" at depth {depth}" if len(depths) > 1 else ""
        yield [f"parameters{at}", f"{trained:,} trainable, {total - trained:,} frozen"]


def _devices(prepared: Prepared) -> Iterator[list[str]]:
    import tensorflow as tf

    strategy = prepared.strategy
    yield ["strategy", f"{type(strategy).__name__}, replicas: {strategy.num_replicas_in_sync}"]
    yield ["devices", ", ".join(device.name for device in tf.config.list_logical_devices())]
    yield ["matrix products in", prepared.compute_dtype.name]


def _minutes(
    config: TrainConfig, prepared: Prepared, depths: list, missing: dict[int | None, list], spent: dict[str, float]
) -> str:
    """Times samples and says what each step of the run, and the run, would take."""
    timed = depths if len(depths) == 1 else {0, 1, depths[-1]}
    with _silence():
        paces = {depth: cost_estimate.measure(config, prepared, depth) for depth in timed}
        head = _head_stage(config, prepared, missing[0]) if config.stages else {"features": 0.0, "train": 0.0}
    steps = {
        depth: cost_estimate.estimate(
            config, prepared, cost_estimate.between(paces, depth), depth, missing=missing[depth], start=spent["start"]
        )
        for depth in depths
    }
    if len(depths) > 1:
        return _minutes_of_search(config, steps, spent)
    seconds = spent | steps[depths[0]]
    seconds["train"] += head["train"]
    # The pass that makes the features of the blocks makes the head's, too.
    together = config.cache == "on" and cost_estimate.has_trunk(prepared, depths[0])
    seconds["features"] = (max if together else sum)([seconds["features"], head["features"]])
    cells = [[name.replace("_", " "), formatting.duration(value)] for name, value in seconds.items()]
    most = ", at most: the head stops when it has converged" if config.stages else ""
    total = ["the run", f"about {formatting.duration(sum(seconds.values()))}{most}"]
    return summary.aligned([*cells, total])


def _head_stage(config: TrainConfig, prepared: Prepared, missing: list) -> dict[str, float]:
    """Returns the most seconds that the steps of the first of two stages take."""
    alone = dataclasses.replace(config, epochs=fine_tuning.HEAD_EPOCHS, learning_rate=head_learning_rate(config))
    return cost_estimate.estimate(
        alone, prepared, cost_estimate.measure(alone, prepared, 0), 0, missing=missing, start=0.0
    )


def _minutes_of_search(config: TrainConfig, steps: dict[int, dict], spent: dict[str, float]) -> str:
    """Says what each depth of --trainable_layers=auto would take, and what bounds the search."""
    each = {depth: seconds["features"] + seconds["train"] for depth, seconds in steps.items()}
    deepest = max(each)
    # The head's features are computed before the search; through the cache that pass serves other depths, too.
    together = [0, *(depth_search.shared(config, deepest) if config.cache == "on" else [])]
    each |= {depth: steps[depth]["train"] for depth in together}
    first = depth_search.first_depths(config, deepest)
    least = most = sum(each[depth] for depth in first)
    bounds = f"depths {', '.join(map(str, first))}"
    if config.time_budget:
        most = max(60 * config.time_budget, each[0] + each[min(1, deepest)])
        least = min(least, most)
        bounds += f", and others that end within --time_budget={config.time_budget} minutes"
    around = sum(spent.values()) + max(steps[depth]["features"] for depth in together) + steps[0]["evaluate_before"]
    around += sum(steps[deepest][name] for name in ("evaluate_after", "export", "report"))
    cells = [[f"depth {depth}", formatting.duration(seconds)] for depth, seconds in each.items()]
    until = f" to {formatting.duration(around + most)}" if most > least else ""
    total = ["the run", f"about {formatting.duration(around + least)}{until}"]
    return f"{summary.aligned([*cells, ['around them', formatting.duration(around)], total])}\nauto tries {bounds}"


def _disk(config: TrainConfig, needed: int) -> Iterator[list[str]]:
    """Says what the features take (``needed`` bytes), and what is free where the run writes."""
    if config.cache == "on":
        least = "at least " if config.time_budget else ""
        yield ["features to cache", f"{least}{formatting.size(needed)}"]
        yield ["free for the cache", f"{formatting.size(_free(config.cache_dir))} ({config.cache_dir})"]
    else:
        yield ["features in memory", formatting.size(needed)]
    final = Path(config.output_dir) / config.run_name
    taken = ", a run is there already" if final.exists() else ""
    yield ["free for the run", f"{formatting.size(_free(config.output_dir))} ({final}{taken})"]


def feature_bytes(prepared: Prepared, missing: dict[int | None, list]) -> int:
    """Returns the bytes of the features that are not in the cache yet, over all these depths."""
    from sentiment_tf.modeling import features

    layouts = [features.layout(prepared.model, tokens, depth) for depth, splits in missing.items() for tokens in splits]
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in layouts)


def _memory(config: TrainConfig, prepared: Prepared, needed: int) -> Iterator[list[str]]:
    """Says the peak of the process: that of the rehearsal, and what a run adds to it."""
    import tensorflow as tf

    added = EXPORT_BYTES + EXPORT_COPIES * 4 * prepared.model.count_params()
    if config.cache == "off":
        added += needed
    if peak := _peak_so_far():
        yield ["peak memory", f"about {formatting.size(peak + added)}"]
    for device in tf.config.list_logical_devices("GPU"):
        used = tf.config.experimental.get_memory_info(device.name.split("device:")[1])["peak"]
        yield [f"peak of {device.name}", f"about {formatting.size(used)}"]


def _peak_so_far() -> int | None:
    """Returns the most bytes this process has held, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _free(folder: str) -> int:
    """Returns the free bytes where a folder is or would be made."""
    path = Path(folder).absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps the log of what is rehearsed out of the report."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
