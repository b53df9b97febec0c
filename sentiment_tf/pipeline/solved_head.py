"""``--head=solve``: the head alone, solved instead of trained step by step."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import leaks, loading
from sentiment_tf.distributed import collectives
from sentiment_tf.modeling import distilbert
from sentiment_tf.modeling.features import Features
from sentiment_tf.pipeline.setup import RunState
from sentiment_tf.training import checkpoints, fitting
from sentiment_tf.training.head_solver import LinearHead, Rows, solve

log = logging.getLogger("sentiment_tf")


def fit(
    config: TrainConfig,
    state: RunState,
    features: Mapping[str, Features],
    *,
    folder: Path | None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict[str, float]]:
    """Writes the best linear head into the model. With several workers, the chief solves it for all.

    Args:
      config: Its class_weight, label_smoothing and seed are used.
      state: What the run starts from; its model's head changes.
      features: The [CLS] vectors of the splits train and validation.
      folder: Where the solution is kept, for a run that is killed later; None keeps nothing.
      callbacks: Keras callbacks, called at the end of each epoch.

    Returns:
      A row per epoch, which is an iteration of L-BFGS: epoch (from 1), loss, accuracy, gradient_norm, val_loss,
      val_accuracy, seconds. The first one's seconds contain the cross-validation.

    Raises:
      UserError: `head_solver.solve` cannot.
    """
    solved = checkpoints.read_newest(folder) if folder else None
    if solved is None and collectives.workers(state.strategy)[0] == 0:
        head, record = _solve(config, state, features, callbacks)
        solved = checkpoints.Checkpoint(head._asdict(), record)
        if folder:
            checkpoints.write(folder, step=len(record["history"]), arrays=solved.arrays, record=record)
    content = collectives.broadcast(state.strategy, checkpoints.to_bytes(solved) if solved else b"")
    solved = checkpoints.from_bytes(content)
    distilbert.set_linear_head(state.model, **solved.arrays)
    log.info("  the head's L2 penalty, by cross-validation: %.0e", solved.record["penalty"])
    return solved.record["history"]


def problem(config: TrainConfig, state: RunState, vectors: np.ndarray) -> tuple[Rows, Callable]:
    """Returns what a head is fitted to, and which rows belong together.

    Args:
      config: Its class_weight and label_smoothing are used.
      state: What the run starts from.
      vectors: float32[rows, D], the [CLS] vectors of the training rows.
    """
    labels, classes = state.labels["train"], len(state.splits.label_names)
    targets = np.eye(classes, dtype=np.float32)[labels]
    targets = targets * (1 - config.label_smoothing) + np.float32(config.label_smoothing / classes)
    weights = np.ones(len(labels), np.float32)
    if config.class_weight == "balanced":
        weights = fitting.balanced_weights(labels, classes)[labels]
    return Rows(vectors, targets, weights), groups(state)


def groups(state: RunState) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from numbers of training rows to numbers of groups: duplicates, phrases of one sentence."""
    texts = loading.text_array(state.splits.rows["train"])
    return lambda rows: leaks.groups(texts.take(rows))


def _solve(config: TrainConfig, state: RunState, features, callbacks) -> tuple[LinearHead, dict]:
    """Returns the head, and the record of how it was found."""
    rows, group = problem(config, state, features["train"].values)
    history, since = [], time.perf_counter()

    def end_epoch(head: LinearHead, gradient_norm: float) -> None:
        """Adds a row to the history, and calls the callbacks with it."""
        nonlocal since
        row = {"gradient_norm": gradient_norm}
        for prefix, split in (("", "train"), ("val_", "validation")):
            logits = features[split].values @ head.kernel.astype(np.float32) + head.bias.astype(np.float32)
            scores = fitting.loss_and_accuracy(logits, state.labels[split])
            row |= {prefix + name: value for name, value in scores.items()}
        row["seconds"], since = time.perf_counter() - since, time.perf_counter()
        for callback in callbacks:
            callback.on_epoch_end(len(history), dict(row))
        history.append({"epoch": len(history) + 1} | row)

    head, record = solve(rows, groups=group, seed=config.seed, on_iteration=end_epoch)
    if not history:  # the start was the solution, as for balanced classes and equal vectors
        end_epoch(head, 0.0)
    return head, record | {"history": history}
