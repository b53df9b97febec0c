"""``--seeds``: several trainings over one set of features, each with its own seed of head, batches and dropout."""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from sentiment_tf.config import TrainConfig
from sentiment_tf.evaluation import metrics, thresholds
from sentiment_tf.inference.classifier import softmax
from sentiment_tf.pipeline import fine_tuning, setup
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.training import fitting

log = logging.getLogger("sentiment_tf")


def train(
    config: TrainConfig, state: RunState, at: Trainable, *, callbacks: Callable[[str], list]
) -> tuple[Trainable, list[dict], list[dict]]:
    """Trains once for each seed, and keeps the training with the best validation accuracy, then the lowest loss.

    A seed gives the same weights as a run with this ``--seed`` alone on the same rows. The rows are split by
    ``config.seed`` for all of them.

    Args:
      config: Its seeds are 2 or more, counted from its seed.
      state: What the run starts from.
      at: The features, and what is trained, at the run's depth.
      callbacks: Makes the Keras callbacks of a training of this name.

    Returns:
      (what is trained, with the kept weights; its epochs' rows; run.json's row of each seed).
    """
    rows, best = [], None
    for seed in range(config.seed, config.seed + config.seeds):
        seeded, name = dataclasses.replace(config, seed=seed), f"seed-{seed}"
        if seed > config.seed:
            state.model.set_weights(setup.load_model(seeded, state.files, state.splits, state.strategy).get_weights())
        one = Trainable(setup.make_trainable(seeded, state, config.fixed_depth), at.features)
        if config.stages:
            fine_tuning.fit_head(seeded, state, name=f"{name}-head", callbacks=callbacks(f"{name}-head"))
        history = fine_tuning.fit(seeded, state, one, name=name, callbacks=callbacks(name))
        rows.append({"seed": seed} | _scores(config, state, one))
        score = (rows[-1]["validation"]["accuracy"], -rows[-1]["validation"]["loss"])
        log.info("  seed %d: validation accuracy %.2f %%", seed, 100 * score[0])
        if best is None or score > best[0]:
            best = score, seed, one, history, state.model.get_weights()
    _, chosen, one, history, weights = best
    state.model.set_weights(weights)
    return one, history, [row | {"chosen": row["seed"] == chosen} for row in rows]


def ranges(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Returns mean, least and most of each metric over the seeds; a metric that a seed leaves undefined is left out."""
    values = {metric.name: [row["metrics"].get(metric.name) for row in rows] for metric in metrics.METRICS}
    return {
        name: {"mean": float(np.mean(of_seeds)), "least": min(of_seeds), "most": max(of_seeds)}
        for name, of_seeds in values.items()
        if None not in of_seeds
    }


def _scores(config: TrainConfig, state: RunState, one: Trainable) -> dict:
    """Returns loss and accuracy on the validation rows, and on the reported rows every metric as the run reports it."""
    logits, reported = fine_tuning.predict_splits(state, one), state.splits.report_split
    temperature = fine_tuning.temperature(config, state, logits)
    asked = {"threshold": config.threshold, "threshold_for": config.threshold_for}
    chosen = thresholds.choose(softmax(logits["validation"] / temperature), state.labels["validation"], **asked)
    predicted = thresholds.decide(softmax(logits[reported] / temperature), chosen["value"]) if chosen else None
    found = metrics.evaluate(logits[reported] / np.float32(temperature), state.labels[reported], predicted=predicted)
    return {
        "validation": fitting.loss_and_accuracy(logits["validation"], state.labels["validation"]),
        "metrics": {metric.name: found.get(metric.name) for metric in metrics.METRICS},
    }
