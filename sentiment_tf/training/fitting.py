"""Compiling, fitting and evaluating the trainable layers on their features."""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import batching
from sentiment_tf.distributed import collectives
from sentiment_tf.modeling.features import Features
from sentiment_tf.modeling.trainable import TrainableLayers
from sentiment_tf.system import runtime
from sentiment_tf.training import input_pipeline
from sentiment_tf.training.callbacks import EpochRow, KeepBest
from sentiment_tf.training.optimizer import make_optimizer
from sentiment_tf.training.resume import Checkpointer

EVALUATION_BATCH = 64
# A step of the head alone takes less time than Keras does between two steps, so this many run in one call.
HEAD_STEPS_AT_ONCE = 10

log = logging.getLogger("sentiment_tf")


def compile_model(config: TrainConfig, model: TrainableLayers, *, rows: int) -> None:
    """Compiles the model with the optimizer of `make_optimizer` and cross-entropy on logits.

    Args:
      config: Its label_smoothing (Szegedy et al., arXiv:1512.00567) and the optimizer's settings are used.
      model: Made under the scope of its strategy.
      rows: Number of training rows.
    """

    def loss(labels, logits):
        one_hot = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), logits.shape[-1])
        return keras.losses.categorical_crossentropy(
            one_hot, logits, from_logits=True, label_smoothing=config.label_smoothing
        )

    with model.distribute_strategy.scope():
        model.compile(
            make_optimizer(config, model, steps=steps_per_epoch(rows, config.batch_size) * config.epochs),
            loss=loss,
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            steps_per_execution=1 if model.blocks else HEAD_STEPS_AT_ONCE,
        )
        # Without its variables, fit would trace the training step twice: once to create them, once to run.
        model.optimizer.build(model.trainable_variables)
    model.distribute_reduction_method = "first"  # metrics cover all replicas already; Keras would add them up


def fit(
    config: TrainConfig,
    model: TrainableLayers,
    features: Features,
    labels: np.ndarray,
    *,
    validate: Callable[[], dict[str, float]] = dict,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoints: Path | None = None,
) -> list[dict[str, float]]:
    """Trains a compiled model in place.

    With ``checkpoints``, training continues where a killed run left it, and ends with the same weights to the last bit.

    Args:
      config: Its epochs, batch_size, seed, class_weight, early_stopping_patience and checkpoint_every are used.
      model: From `compile_model`.
      features: Features of the training rows.
      labels: int[rows].
      validate: Called after each epoch; its scores join the epoch's row under ``val_`` and their names. Early stopping
        needs ``loss`` and ``accuracy``.
      callbacks: Further Keras callbacks; their logs contain the validation scores.
      checkpoints: Folder of this training, empty or left by a killed run; None writes no checkpoints.

    Returns:
      A row per epoch: epoch (from 1), loss, accuracy, gradient_norm (of the last step), val_…, padding (share of
      padding in the batches), learning_rate (at the end of the epoch), seconds.

    Raises:
      UserError: Training diverged (only with ``checkpoints``).
      KeyboardInterrupt, signals.Terminated: A signal arrived; with ``checkpoints``, one was written.
    """
    steps = steps_per_epoch(len(features), config.batch_size)
    row = EpochRow(config, features, validate)
    best = [KeepBest(config.early_stopping_patience)] if config.early_stopping_patience else []
    callbacks, first, epochs = [row, *callbacks, *best], (0, 0), config.epochs
    resumed: contextlib.AbstractContextManager = contextlib.nullcontext()
    if checkpoints is not None:
        checkpointer = Checkpointer(
            checkpoints, model, steps=steps, every=config.checkpoint_every, stateful=[row, *best]
        )
        checkpointer.restore()
        if checkpointer.is_done:
            return row.history
        callbacks, first = [*callbacks, checkpointer], (checkpointer.epoch, checkpointer.step)
        if any(callback.is_over for callback in best):  # the run was killed after its last epoch
            epochs = checkpointer.epoch
        resumed = checkpointer.resumed()
    with resumed:
        model.fit(
            _batches(config, model, features, labels, first=first),
            steps_per_epoch=steps,
            epochs=epochs,
            verbose=int(sys.stdout.isatty() and log.isEnabledFor(logging.INFO)),
            callbacks=callbacks,
        )
    return row.history


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Returns the number of batches that hold all rows."""
    return -(-rows // batch_size)


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns float32[classes]: rows / (classes × rows of the class), so that the mean weight of a row is 1."""
    return (len(labels) / (classes * np.maximum(np.bincount(labels, minlength=classes), 1))).astype(np.float32)


def predict_logits(model: TrainableLayers, features: Features) -> np.ndarray:
    """Returns float32[rows, classes] in row order, without dropout, several batches at a time.

    With several workers, each computes a share of the batches, and all return all rows.
    """
    weights = model.read_weights()
    logits = np.zeros((len(features), weights.head.bias.shape[0]), np.float32)

    def run(numbered):
        _, rows = numbered
        inputs = {name: tf.constant(value) for name, value in features.gather(rows).items()}
        return (model.evaluate_batch(weights, inputs).numpy(),)

    plan = batching.evaluation_plan(features.lengths, batch_size=EVALUATION_BATCH)
    batches = [rows[rows != batching.PAD_ROW] for rows in plan]
    threads = 1 if tf.config.list_logical_devices("GPU") else runtime.cores()
    compute = functools.partial(runtime.side_by_side, run, workers=threads)
    for rows, (answers,) in collectives.sharded_map(model.distribute_strategy, batches, compute, empty=[logits[:0]]):
        logits[rows] = answers
    return logits


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns the mean cross-entropy in nats, and the share of rows whose largest logit is the label's."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return {"loss": float(-likelihood.mean()), "accuracy": float((logits.argmax(axis=1) == labels).mean())}


def _batches(
    config: TrainConfig, model: TrainableLayers, features: Features, labels: np.ndarray, *, first: tuple[int, int]
):
    """Returns the batches from ``first`` (epoch and step, counted from 0) on, for every replica of the strategy."""
    strategy = model.distribute_strategy
    worker, workers = collectives.workers(strategy)
    weights = np.ones(len(labels), np.float32)
    if config.class_weight == "balanced":
        weights = balanced_weights(labels, model.head[-1].units)[labels]
    dataset = functools.partial(_dataset, config, features, labels, weights, first=first)
    if workers == 1:  # Keras splits a batch between the replicas itself
        return dataset(share=(0, 1, 1))
    return strategy.distribute_datasets_from_function(
        lambda context: dataset(share=(worker, workers, context.num_replicas_in_sync // workers))
    )


def _dataset(
    config: TrainConfig,
    features: Features,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    first: tuple[int, int],
    share: tuple[int, int, int],
) -> tf.data.Dataset:
    """Returns the batches of all remaining epochs: (inputs, int32[batch] labels, float32[batch] weights).

    Args:
      config: Its epochs, batch_size and seed are used.
      features: Features of the training rows.
      labels: int[rows].
      weights: float32[rows], each row's weight in the loss.
      first: Epoch and step to begin with, counted from 0.
      share: Index of the worker, number of workers, replicas per worker. From each global batch a worker gets
        one batch for each of its replicas, one after another.
    """
    worker, workers, replicas = share
    size = config.batch_size // (workers * replicas)

    def plan(epoch):
        whole = batching.training_plan(features.lengths, batch_size=config.batch_size, seed=config.seed, epoch=epoch)
        return batching.share(whole, worker, workers, replicas)

    def gather(rows):
        return (
            features.gather(rows),
            labels[rows].astype(np.int32),
            np.where(rows != batching.PAD_ROW, weights[rows], 0.0).astype(np.float32),
        )

    signature = (features.signature(size), tf.TensorSpec([size], tf.int32), tf.TensorSpec([size], tf.float32))
    return input_pipeline.to_dataset(
        plan,
        config.epochs,
        gather,
        signature,
        batch_size=size,
        first_epoch=first[0],
        first_step=first[1] * replicas,
    )
