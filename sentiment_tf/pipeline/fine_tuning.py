"""Training and prediction at one depth of a run."""

import dataclasses
import logging

import numpy as np

from sentiment_tf.config import TrainConfig, head_learning_rate, solves_head
from sentiment_tf.evaluation import calibration
from sentiment_tf.pipeline import setup, solved_head
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.training import fitting

# --stages trains the head until it has converged; on cached features, fifty epochs take seconds.
HEAD_EPOCHS = 50
HEAD_PATIENCE = 5

log = logging.getLogger("sentiment_tf")


def fit(
    config: TrainConfig, state: RunState, at: Trainable, *, name: str = "train", callbacks=()
) -> list[dict[str, float]]:
    """Compiles and trains the trainable layers; returns a row per epoch.

    A training of this ``name`` that was killed continues; one that was finished is not repeated.
    """
    folder = state.checkpoints / name if state.checkpoints else None
    if solves_head(config):
        return solved_head.fit(config, state, at.features, folder=folder, callbacks=callbacks)

    labels = state.labels
    fitting.compile_model(config, at.model, rows=len(labels["train"]))
    return fitting.fit(
        config,
        at.model,
        at.features["train"],
        labels["train"],
        validate=lambda: fitting.loss_and_accuracy(
            fitting.predict_logits(at.model, at.features["validation"]), labels["validation"]
        ),
        callbacks=callbacks,
        checkpoints=folder,
    )


def fit_head(config: TrainConfig, state: RunState, *, name: str = "head", callbacks=()) -> None:
    """Trains the head alone to convergence, the first of two stages; ``name`` is the training's, as in `fit`."""
    head_only = dataclasses.replace(
        config,
        trainable_layers="0",
        epochs=HEAD_EPOCHS,
        learning_rate=head_learning_rate(config),
        early_stopping_patience=HEAD_PATIENCE,
    )
    at = setup.freeze(config, state, 0, only=setup.TRAINING_SPLITS)
    history = fit(head_only, state, at, name=name, callbacks=callbacks)
    accuracy = kept_epoch(head_only, history)["val_accuracy"]
    log.info("  head first: %d epochs, validation accuracy %.2f %%", len(history), 100 * accuracy)


def kept_epoch(config: TrainConfig, history: list[dict[str, float]]) -> dict[str, float]:
    """Returns the row of the epoch whose weights a training ends with: the last, or with early stopping the best."""
    if config.early_stopping_patience and not solves_head(config):
        return max(history, key=lambda row: row["val_accuracy"])
    return history[-1]


def temperature(config: TrainConfig, state: RunState, logits: dict[str, np.ndarray]) -> float:
    """Returns the temperature of ``--calibrate``, fitted on the validation rows; 1 without it.

    Args:
      config: Settings of the run.
      state: What the run started from.
      logits: From `predict_splits`, after training.
    """
    if config.calibrate == "off":
        return 1.0
    return calibration.fit_temperature(logits["validation"], state.labels["validation"])


def predict_splits(state: RunState, at: Trainable) -> dict[str, np.ndarray]:
    """Returns float32[rows, classes] logits of each of `scored_splits`."""
    return {split: fitting.predict_logits(at.model, at.features[split]) for split in scored_splits(state)}


def scored_splits(state: RunState) -> list[str]:
    """Returns the validation split and the split that results are reported on, in the same order on every worker."""
    return list(dict.fromkeys(("validation", state.splits.report_split)))
