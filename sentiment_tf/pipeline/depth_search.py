"""--trainable_layers=auto: how deep must one train? The cheapest depth that is nearly as good as the best."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from sentiment_tf.config import TrainConfig, at_depth
from sentiment_tf.errors import NoRoomError
from sentiment_tf.pipeline import fine_tuning, setup
from sentiment_tf.pipeline.setup import Cut, Prepared
from sentiment_tf.reporting import formatting, summary
from sentiment_tf.system import disk

DECISIONS = "depths.json"  # beside the checkpoints
ROUNDING = 1e-9  # of accuracies that differ by the tolerance itself

log = logging.getLogger("sentiment_tf")


def search(
    config: TrainConfig, prepared: Prepared, head: Cut, *, features_seconds: float, callbacks: Callable[[str], list]
) -> tuple:
    """Trains some depths from the same pretrained weights and keeps the cheapest good one.

    First the head and one block. Where the block gains more than the tolerance, the deepest depth that there is time
    for: how good the model gets at all is known then. With --time_budget the gap below the cheapest good depth is
    halved until none is left. A depth for which time or disk does not suffice is skipped.

    Args:
      config: its trainable_layers is "auto".
      prepared: what the run starts from.
      head: the cut at depth 0, whose trunk also made the features of `shared`.
      features_seconds: that this took the run; little, where the cache had them.
      callbacks: makes the Keras callbacks of a training of this name.

    Returns:
      (preparation.Cut of the chosen depth, its weights in the model; its epochs' rows; a row per depth:
      trainable_layers, accuracy (on validation), seconds (trunk and training, had it been alone),
      training_seconds, epochs, chosen; for each depth that was skipped trainable_layers and the reason).
    """
    from sentiment_tf.distributed import collectives

    model, deepest = prepared.model, prepared.model.config.num_hidden_layers
    tolerance = config.accuracy_tolerance / 100
    pretrained = model.get_weights()
    decided = _begin(prepared, head, features_seconds)
    trunk, spent = decided["trunk"], decided["spent"]
    limit = first_depths(config, deepest)[-1]
    in_cache = shared(config, deepest) if config.cache == "on" else []
    then, now = decided["steps"], []
    rows, skipped, trained, shallowest = [], [], {}, 1
    while (depth := next_depth(rows, limit, shallowest, tolerance=tolerance)) is not None:
        own_trunk = trunk * (deepest - depth) * (depth not in (0, *in_cache))
        known = then[len(now)] if len(now) < len(then) else None
        step = known or {
            "depth": depth,
            "no_time": skip_reason(config, rows, depth, deepest, spent + own_trunk, forward=decided["forward"]),
            "no_room": None,
        }
        at = None  # the features of two depths are never in memory together
        if not (step["no_time"] or step["no_room"]):
            model.set_weights(pretrained)
            try:
                at = head if depth == 0 else _cut(config, prepared, depth)
            except NoRoomError as error:
                if known:  # there was room: what has been trained is not thrown away for want of it
                    raise
                step["no_room"] = str(error)
        now.append(step)
        _write(prepared.checkpoints, decided | {"steps": [*now, *then[len(now) :]]})
        if reason := step["no_time"] or step["no_room"]:
            log.info("  depth %d is skipped: %s", depth, reason)
            skipped.append({"trainable_layers": depth, "reason": reason})
            if step["no_time"]:
                limit = depth - 1  # there may be time for something shallower
            else:
                shallowest = deepest  # the others need as much room, but for all blocks, which have no features
            if depth < rows[-1]["trainable_layers"] or limit < shallowest or not config.time_budget:
                break
            continue
        name = f"depth-{depth}"
        history = fine_tuning.fit(at_depth(config, depth), prepared, at, name=name, callbacks=callbacks(name))
        # As the epochs were, before a kill or after it; workers must agree on when to stop.
        training = collectives.from_chief(prepared.strategy, sum(row["seconds"] for row in history))
        spent += own_trunk + training
        row = _row(config, depth, history, training, trunk=trunk * (deepest - depth))
        log.info("  depth %d: validation accuracy %.2f %% in %.1f s", depth, 100 * row["accuracy"], row["seconds"])
        rows = sorted([*rows, row], key=lambda row: row["trainable_layers"])
        trained[depth] = (history, model.get_weights())
        least = max(row["accuracy"] for row in rows) - tolerance - ROUNDING
        for worse in (row["trainable_layers"] for row in rows if row["accuracy"] < least):
            trained.pop(worse, None)  # it cannot be chosen any more
    at = None
    chosen = rows[choose(rows, tolerance=tolerance)]
    chosen["chosen"] = True
    log.info("\n%s\n", _table(rows))
    history, weights = trained[chosen["trainable_layers"]]
    model.set_weights(weights)
    if depth := chosen["trainable_layers"]:
        at = setup.cut(at_depth(config, depth), prepared, depth, only=fine_tuning.scored_splits(prepared))
    return at or head, history, rows, skipped


def _begin(prepared: Prepared, head: Cut, features_seconds: float) -> dict:
    """Returns what the search goes by: spent, trunk and forward in seconds, and the steps of a killed run.

    What such a run decided stands: it went by times that cannot be measured again. Workers go by the chief's.
    """
    from sentiment_tf.distributed import collectives

    blocks = prepared.model.config.num_hidden_layers
    block = {split: head.features[split].seconds / blocks for split in setup.TRAINING_SPLITS}  # forward, frozen
    begun = {"spent": features_seconds, "trunk": sum(block.values()), "forward": block["train"], "steps": []}
    decided = collectives.from_chief(prepared.strategy, _read(prepared.checkpoints) or begun)
    _write(prepared.checkpoints, decided)
    return decided


def _cut(config: TrainConfig, prepared: Prepared, depth: int) -> Cut:
    """Returns the cut at a depth with what its training needs of the splits."""
    return setup.cut(at_depth(config, depth), prepared, depth, only=setup.TRAINING_SPLITS)


def _row(config: TrainConfig, depth: int, history: list[dict], training: float, *, trunk: float) -> dict:
    """Returns what the table says of a depth: its accuracy, and what it alone would take."""
    accuracies = [row["val_accuracy"] for row in history]
    return {
        "trainable_layers": depth,
        "accuracy": max(accuracies) if config.early_stopping_patience else accuracies[-1],
        "seconds": trunk + training,
        "training_seconds": training,
        "epochs": len(history),
    }


def first_depths(config: TrainConfig, deepest: int) -> list[int]:
    """Returns what a search tries first: the head, one block, and the deepest that it may.

    Without --time_budget that is all blocks but one, and all that is tried: three epochs of everything take longer.
    """
    return sorted({0, min(1, deepest), deepest if config.time_budget else max(deepest - 1, min(1, deepest))})


def shared(config: TrainConfig, deepest: int) -> list[int]:
    """Returns the depths whose features the head's pass of the trunk makes on its way."""
    return [depth for depth in first_depths(config, deepest) if 0 < depth < deepest]


def choose(rows: list[dict], *, tolerance: float) -> int:
    """Returns the first (cheapest) row whose accuracy is within ``tolerance`` of the best one's."""
    best = max(row["accuracy"] for row in rows)
    return next(place for place, row in enumerate(rows) if row["accuracy"] >= best - tolerance - ROUNDING)


def next_depth(rows: list[dict], limit: int, shallowest: int = 1, *, tolerance: float) -> int | None:
    """Returns the depth to try next, or None at the end.

    Args:
      rows: tried so far, in order of depth.
      limit: the deepest that may be tried.
      shallowest: what is tried after the head.
      tolerance: of accuracy, a share.
    """
    if not rows:
        return 0
    top = rows[-1]["trainable_layers"]
    if top < limit and (len(rows) == 1 or rows[-1]["accuracy"] - rows[-2]["accuracy"] >= tolerance):
        return limit if top else min(shallowest, limit)
    good = choose(rows, tolerance=tolerance)
    depths = [row["trainable_layers"] for row in rows]
    if good == 0 or depths[good] - depths[good - 1] == 1:
        return None
    return (depths[good] + depths[good - 1]) // 2


def skip_reason(
    config: TrainConfig, rows: list[dict], depth: int, deepest: int, spent: float, *, forward: float
) -> str | None:
    """Returns why there is no time for a depth, or None.

    Args:
      config: of the run.
      rows: tried so far, in order of depth; the head is never skipped, one block only once the time has passed.
      depth: to be tried.
      deepest: blocks of the model.
      spent: seconds, those of the depth's own trunk included.
      forward: seconds that the training rows take through one block.
    """
    if not config.time_budget:
        first = first_depths(config, deepest)
        return None if depth in first else f"without --time_budget no more than {', '.join(map(str, first))} are tried"
    budget = 60 * config.time_budget
    if rows and spent >= budget:
        return f"it would begin after --time_budget={config.time_budget} minutes"
    if depth <= 1:
        return None
    known = [(row["trainable_layers"], row["training_seconds"]) for row in rows]
    # The top block is computed for [CLS] alone, so depth 1 says little of the others: forward and twice that backward.
    expected = spent + _extrapolate(known, depth, least=3 * rows[-1]["epochs"] * forward)
    if expected <= budget:
        return None
    return f"the search would take {expected / 60:.1f} of --time_budget={config.time_budget} minutes"


def _read(checkpoints: Path | None) -> dict | None:
    """Returns what a killed run's search decided, or None."""
    if checkpoints and (checkpoints / DECISIONS).exists():
        return json.loads((checkpoints / DECISIONS).read_text())
    return None


def _write(checkpoints: Path | None, decided: dict) -> None:
    if checkpoints:
        checkpoints.mkdir(parents=True, exist_ok=True)
        written = checkpoints / f".{DECISIONS}"
        written.write_text(json.dumps(decided))
        disk.sync_entries(written)
        os.replace(written, checkpoints / DECISIONS)


def _extrapolate(known: list[tuple[int, float]], depth: int, *, least: float) -> float:
    """Returns the seconds of a depth on the line through the two known depths around it, or the deepest two.

    Beyond the deepest known, each block takes ``least`` or more.
    """
    if len(known) == 1:
        return known[0][1] + least * (depth - known[0][0])
    after = next((place for place, (at, _) in enumerate(known) if at >= depth), len(known) - 1)
    (one, its), (other, others) = known[max(after, 1) - 1], known[max(after, 1)]
    slope = (others - its) / (other - one)
    return others + (max(slope, least) if depth > other else slope) * (depth - other)


def _table(rows: list[dict]) -> str:
    cells = [
        [
            str(row["trainable_layers"]),
            formatting.value("accuracy", row["accuracy"]),
            formatting.duration(row["seconds"]),
            "chosen" if row.get("chosen") else "",
        ]
        for row in rows
    ]
    return summary.aligned([["blocks trained", "validation accuracy", "time", ""], *cells])
