"""--trainable_layers=auto: how deep must one train? The cheapest depth that is nearly as good as the best."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from sentiment_tf import fine_tuning, preparation
from sentiment_tf.config import TrainConfig, at_depth
from sentiment_tf.preparation import Cut, Prepared
from sentiment_tf.reporting import summary, wording

DECISIONS = "depths.json"  # beside the checkpoints
SHARED = (1, 2, 4)  # depths whose features the head's pass of the trunk makes on its way: those a search tries first

log = logging.getLogger("sentiment_tf")


def search(
    config: TrainConfig, prepared: Prepared, head: Cut, *, features_seconds: float, callbacks: Callable[[str], list]
) -> tuple:
    """Trains some depths from the same pretrained weights and keeps the cheapest good one.

    Depth grows (0, 1, 4, 13, …) while that gains more than the tolerance; then the gap below the cheapest good
    depth is halved until none is left. A depth that would pass the time budget is skipped for the deepest that
    does not. Without --time_budget that is what training every block would take: the search should not cost more
    than what it spares.

    Args:
      config: its trainable_layers is "auto".
      prepared: what the run starts from.
      head: the cut at depth 0, whose trunk also made the features of the next depths.
      features_seconds: that this took the run; little, where the cache had them.
      callbacks: makes the Keras callbacks of a training of this name.

    Returns:
      (preparation.Cut of the chosen depth, its weights in the model; its epochs' rows; a row per depth:
      trainable_layers, accuracy (on validation), seconds (trunk and training, had it been alone),
      training_seconds, chosen).
    """
    from sentiment_tf import exchange

    model, deepest = prepared.model, prepared.model.config.n_layers
    pretrained = model.get_weights()
    block = {split: features.seconds / deepest for split, features in head.features.items()}  # forward, frozen
    begun = {"spent": features_seconds, "trunk": sum(block.values()), "forward": block["train"], "steps": []}
    # What a killed run decided stands: it went by times that cannot be measured again. Workers go by the chief's.
    decided = exchange.from_chief(prepared.strategy, _read(prepared.checkpoints) or begun)
    _write(prepared.checkpoints, decided)
    trunk, spent, limit = decided["trunk"], decided["spent"], deepest
    made: list[dict] = []
    rows, trained = [], {}
    while (depth := next_depth(rows, limit, tolerance=config.accuracy_tolerance / 100)) is not None:
        makes_features = depth > 0 and (depth not in SHARED or config.cache == "off")
        own_trunk = trunk * (deepest - depth) * makes_features
        then = decided["steps"][len(made)] if len(made) < len(decided["steps"]) else None
        begins = spent + own_trunk
        reason = (
            then["skipped"] if then else over_budget(config, rows, depth, deepest, begins, forward=decided["forward"])
        )
        made.append({"depth": depth, "skipped": reason, "spent": then and then["spent"]})
        if reason:
            log.info("  depth %d is skipped: %s", depth, reason)
            if depth < rows[-1]["trainable_layers"]:
                break
            limit = depth - 1  # there may be time for something shallower
            continue
        model.set_weights(pretrained)
        at, history, cutting = _train(config, prepared, depth, callbacks)
        training = sum(row["seconds"] for row in history)  # as the epochs were, before a kill or after it
        # Workers must agree on when to stop.
        spent, training = exchange.from_chief(prepared.strategy, [spent + cutting + training, training])
        spent = made[-1]["spent"] = then["spent"] if then else spent
        _write(prepared.checkpoints, decided | {"steps": made})
        accuracies = [row["val_accuracy"] for row in history]
        accuracy = max(accuracies) if config.early_stopping_patience else accuracies[-1]
        seconds = trunk * (deepest - depth) + training  # what this depth alone would take
        row = {"trainable_layers": depth, "accuracy": accuracy, "seconds": seconds, "training_seconds": training}
        rows = sorted([*rows, row], key=lambda row: row["trainable_layers"])
        trained[depth] = (at, history, model.get_weights())
        log.info("  depth %d: validation accuracy %.2f %% in %.1f s", depth, 100 * accuracy, seconds)
    chosen = rows[choose(rows, tolerance=config.accuracy_tolerance / 100)]
    chosen["chosen"] = True
    at, history, weights = trained[chosen["trainable_layers"]]
    model.set_weights(weights)
    log.info("\n%s\n", _table(rows))
    return at, history, rows


def _train(config: TrainConfig, prepared: Prepared, depth: int, callbacks: Callable[[str], list]) -> tuple:
    """Returns the cut at this depth, trained; its epochs' rows; the seconds that the cut and its features took."""
    settings = at_depth(config, depth)
    began, name = time.perf_counter(), f"depth-{depth}"
    at = preparation.cut(settings, prepared, depth, also=prefixes(prepared.model, depth))
    cutting = time.perf_counter() - began
    return at, fine_tuning.fit(settings, prepared, at, name=name, callbacks=callbacks(name)), cutting


def prefixes(model, depth: int) -> list[int]:
    """Returns the deeper cuts whose features the trunk of this one makes on its way."""
    return [shared for shared in SHARED if depth == 0 and shared < model.config.n_layers]


def choose(rows: list[dict], *, tolerance: float) -> int:
    """Returns the first (cheapest) row whose accuracy is within ``tolerance`` of the best one's."""
    best = max(row["accuracy"] for row in rows)
    return next(place for place, row in enumerate(rows) if row["accuracy"] >= best - tolerance - 1e-9)


def next_depth(rows: list[dict], limit: int, *, tolerance: float) -> int | None:
    """Returns the depth to try next, or None at the end.

    Args:
      rows: tried so far, in order of depth.
      limit: the deepest that may be tried.
      tolerance: of accuracy, a share.
    """
    if not rows:
        return 0
    top = rows[-1]["trainable_layers"]
    if top < limit and (len(rows) == 1 or rows[-1]["accuracy"] - rows[-2]["accuracy"] >= tolerance):
        return min(3 * top + 1, limit)
    good = choose(rows, tolerance=tolerance)
    depths = [row["trainable_layers"] for row in rows]
    if good == 0 or depths[good] - depths[good - 1] == 1:
        return None
    return (depths[good] + depths[good - 1]) // 2


def over_budget(
    config: TrainConfig, rows: list[dict], depth: int, deepest: int, spent: float, *, forward: float
) -> str | None:
    """Returns why a depth must be skipped, or None.

    Args:
      config: of the run.
      rows: tried so far, in order of depth; the first is never skipped, the second only once the time has passed,
        the third only by --time_budget.
      depth: to be tried.
      deepest: blocks of the model.
      spent: seconds, those of the depth's own trunk included.
      forward: seconds that the training rows take through one block.
    """
    if config.time_budget and rows and spent >= 60 * config.time_budget:
        return f"--time_budget={config.time_budget} minutes have passed"
    if len(rows) < (2 if config.time_budget else 3):
        return None
    known = [(row["trainable_layers"], row["training_seconds"]) for row in rows]
    # The top block is computed for [CLS] alone, so depth 1 says little of the others: forward and twice that backward.
    block = 3 * config.epochs * forward
    expected = spent + _extrapolate(known, depth, least=block)
    budget = 60 * config.time_budget if config.time_budget else _extrapolate(known, deepest, least=block)
    if expected <= budget:
        return None
    limit = (
        f"of --time_budget={config.time_budget}" if config.time_budget else f"and training everything {budget / 60:.1f}"
    )
    return f"the search would take {expected / 60:.1f} {limit} minutes"


def _read(checkpoints: Path | None) -> dict | None:
    """Returns what a killed run's search decided, or None."""
    try:
        return json.loads((checkpoints / DECISIONS).read_text()) if checkpoints else None
    except FileNotFoundError:
        return None


def _write(checkpoints: Path | None, decided: dict) -> None:
    if checkpoints:
        checkpoints.mkdir(parents=True, exist_ok=True)
        written = checkpoints / f".{DECISIONS}"
        written.write_text(json.dumps(decided))
        os.replace(written, checkpoints / DECISIONS)


def _extrapolate(known: list[tuple[int, float]], depth: int, *, least: float) -> float:
    """Returns the seconds of a depth on the line through the two known depths around it, or the deepest two.

    Beyond the deepest known, each block takes ``least`` or more.
    """
    after = next((place for place, (at, _) in enumerate(known) if at >= depth), len(known) - 1)
    (one, its), (other, others) = known[max(after, 1) - 1], known[max(after, 1)]
    slope = (others - its) / (other - one)
    return others + (max(slope, least) if depth > other else slope) * (depth - other)


def _table(rows: list[dict]) -> str:
    cells = [
        [
            str(row["trainable_layers"]),
            wording.value("accuracy", row["accuracy"]),
            wording.duration(row["seconds"]),
            "chosen" if row.get("chosen") else "",
        ]
        for row in rows
    ]
    return summary.aligned([["blocks trained", "validation accuracy", "time", ""], *cells])
