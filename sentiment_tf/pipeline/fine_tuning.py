"""Trains and asks a cut model as the settings say."""

import dataclasses
import logging
import sys

import numpy as np

from sentiment_tf.config import TrainConfig, head_learning_rate
from sentiment_tf.pipeline import setup
from sentiment_tf.pipeline.setup import Cut, Prepared

# --stages trains the head until it has converged; from the cache, fifty epochs take seconds.
HEAD_EPOCHS = 50
HEAD_PATIENCE = 5

log = logging.getLogger("sentiment_tf")


def fit(
    config: TrainConfig, prepared: Prepared, at: Cut, *, name: str = "train", callbacks=()
) -> list[dict[str, float]]:
    """Compiles and trains the tail as the config says; returns the epochs' rows.

    A training of this ``name`` that a killed run had begun goes on; one that it had ended is not repeated.
    """
    from sentiment_tf.training import fitting

    labels = prepared.labels
    fitting.compile_tail(
        at.tail,
        learning_rate=config.learning_rate,
        steps=fitting.steps_per_epoch(len(labels["train"]), config.batch_size) * config.epochs,
        warmup_ratio=config.warmup_ratio,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
        label_smoothing=config.label_smoothing,
        loss_scaling=prepared.compute_dtype.name == "float16",
    )
    balanced = config.class_weight == "balanced"
    return fitting.fit(
        at.tail,
        at.features["train"],
        labels["train"],
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        validate=lambda: fitting.loss_and_accuracy(
            fitting.predict_logits(at.tail, at.features["validation"]), labels["validation"]
        ),
        callbacks=callbacks,
        verbose=int(sys.stdout.isatty() and log.isEnabledFor(logging.INFO)),
        class_weights=fitting.balanced_weights(labels["train"], len(prepared.splits.label_names)) if balanced else None,
        patience=config.early_stopping_patience,
        checkpoints=prepared.checkpoints / name if prepared.checkpoints else None,
        checkpoint_every=config.checkpoint_every,
    )


def fit_head(config: TrainConfig, prepared: Prepared, *, callbacks=()) -> None:
    """The first of two stages: the head alone, to convergence."""
    head_only = dataclasses.replace(
        config,
        epochs=HEAD_EPOCHS,
        learning_rate=head_learning_rate(config),
        early_stopping_patience=HEAD_PATIENCE,
    )
    at = setup.cut(config, prepared, 0, only=setup.TRAINING_SPLITS)
    history = fit(head_only, prepared, at, name="head", callbacks=callbacks)
    best = max(row["val_accuracy"] for row in history)
    log.info("  head first: %d epochs, validation accuracy %.2f %%", len(history), 100 * best)


def predict_splits(prepared: Prepared, at: Cut) -> dict[str, np.ndarray]:
    """Returns float32[rows, classes] of the validation split and of the split that is reported on."""
    from sentiment_tf.training import fitting

    return {split: fitting.predict_logits(at.tail, at.features[split]) for split in scored_splits(prepared)}


def scored_splits(prepared: Prepared) -> list[str]:
    """Returns the validation split and the one that is reported on, in the same order on every worker."""
    return list(dict.fromkeys(("validation", prepared.splits.report_split)))
