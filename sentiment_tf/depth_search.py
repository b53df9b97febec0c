"""--trainable_layers=auto: how deep must one train? The cheapest depth that is nearly as good as the best."""

import dataclasses
import logging
import time

from sentiment_tf.config import TrainConfig, default_learning_rate
from sentiment_tf.reporting import summary, wording

DEPTHS_AT_ONCE = 3  # that one pass of the trunk serves: the search tries as many at least

log = logging.getLogger("sentiment_tf")


def search(config: TrainConfig, prepared, *, features_seconds: float, callbacks) -> tuple:
    """Trains depth after depth from the same pretrained weights and keeps the cheapest good one.

    Depths grow by one block from the head alone. Deepening ends when the last two steps each gained less
    than the tolerance, when the next depth would pass the time budget, or at the model's last block.

    Args:
      config: its trainable_layers is "auto".
      prepared: experiment.Prepared.
      features_seconds: that the head's features took, whose pass also made those of the next depths.
      callbacks: Keras callbacks of every depth's training.

    Returns:
      (experiment.Cut of the chosen depth, its weights in the model; its epochs' rows; a row per depth:
      trainable_layers, accuracy (on validation), seconds (trunk and training, had it been alone),
      training_seconds, chosen).
    """
    from sentiment_tf import experiment
    from sentiment_tf.training import exchange

    model = prepared.model
    pretrained = model.get_weights()
    rows, trained, spent = [], [], features_seconds
    trunk = features_seconds / model.config.n_layers  # seconds of one frozen block
    for depth in range(model.config.n_layers + 1):
        makes_features = depth and (config.cache == "off" or depth % DEPTHS_AT_ONCE == 0)
        next_trunk = trunk * (model.config.n_layers - depth) * makes_features
        if reason := _reason_to_stop(config, rows, spent + next_trunk):
            log.info("  depths from %d on are skipped: %s", depth, reason)
            break
        model.set_weights(pretrained)
        settings = dataclasses.replace(config, trainable_layers=str(depth))
        settings = dataclasses.replace(settings, learning_rate=config.learning_rate or default_learning_rate(settings))
        start = time.perf_counter()
        at = experiment.cut(settings, prepared, depth, also=prefixes(model, depth))
        spent += time.perf_counter() - start
        history = experiment.fit(settings, prepared, at, name=f"depth-{depth}", callbacks=callbacks)
        training = sum(row["seconds"] for row in history)  # as the epochs were, before a kill or after it
        spent = exchange.from_chief(prepared.strategy, spent + training)  # workers must agree on when to stop
        accuracy = max(row["val_accuracy"] for row in history) if config.early_stopping_patience else None
        accuracy = history[-1]["val_accuracy"] if accuracy is None else accuracy
        seconds = trunk * (model.config.n_layers - depth) + training  # what this depth alone would take
        row = {"trainable_layers": depth, "accuracy": accuracy, "seconds": seconds, "training_seconds": training}
        rows.append(row)
        trained.append((at, history, model.get_weights()))
        log.info("  depth %d: validation accuracy %.2f %% in %.1f s", depth, 100 * accuracy, seconds)
    chosen = choose(rows, tolerance=config.accuracy_tolerance / 100)
    rows[chosen]["chosen"] = True
    at, history, weights = trained[chosen]
    model.set_weights(weights)
    log.info("\n%s\n", _table(rows))
    return at, history, rows


def prefixes(model, depth: int) -> range:
    """Returns the deeper cuts whose features the trunk of this one passes on its way, as many as are surely tried."""
    return range(depth + 1, min(depth + DEPTHS_AT_ONCE, model.config.n_layers))


def choose(rows: list[dict], *, tolerance: float) -> int:
    """Returns the first (cheapest) row whose accuracy is within ``tolerance`` of the best one's."""
    best = max(row["accuracy"] for row in rows)
    return next(place for place, row in enumerate(rows) if row["accuracy"] >= best - tolerance - 1e-9)


def _reason_to_stop(config: TrainConfig, rows: list[dict], elapsed: float) -> str | None:
    gains = [later["accuracy"] - earlier["accuracy"] for earlier, later in zip(rows[:-1], rows[1:], strict=True)]
    if len(gains) >= 2 and max(gains[-2:]) < config.accuracy_tolerance / 100:
        return f"the last two gained less than --accuracy_tolerance={config.accuracy_tolerance} points each"
    if config.time_budget and len(rows) >= 2:
        before, last = (row["training_seconds"] for row in rows[-2:])
        expected = elapsed + last + max(last - before, 0.0)
        if expected > 60 * config.time_budget:
            return f"the next would end after {expected / 60:.1f} of --time_budget={config.time_budget} minutes"
    return None


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
