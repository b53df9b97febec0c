"""Compile and fit the tail."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.data import batching
from sentiment_tf.distributed import collectives
from sentiment_tf.modeling import distilbert
from sentiment_tf.modeling.features import Features
from sentiment_tf.modeling.trainable import TrainableLayers
from sentiment_tf.system import runtime
from sentiment_tf.training.callbacks import EpochRow, KeepBest
from sentiment_tf.training.optimizer import FusedAdamW, WarmupDecay
from sentiment_tf.training.resume import Checkpointer

EVALUATION_BATCH = 64
# A step of the head alone is shorter than what Keras does between two steps: it runs this many without looking up.
HEAD_STEPS_AT_ONCE = 10


def compile_tail(
    tail: TrainableLayers,
    *,
    learning_rate: float,
    steps: int,
    warmup_ratio: float,
    weight_decay: float,
    loss_scaling: bool,
    schedule: str = "linear",
    layer_decay: float = 1.0,
    label_smoothing: float = 0.0,
) -> None:
    """Compiles the tail with AdamW and cross-entropy on logits.

    Args:
      tail: made under the strategy's scope.
      learning_rate: peak of the schedule.
      steps: of the whole run.
      warmup_ratio: share of them in which the rate rises.
      weight_decay: for matrices; biases and LayerNorm are left out.
      loss_scaling: for float16, whose small gradients would vanish otherwise.
      schedule: "linear" or "cosine".
      layer_decay: a block's rate is this times that of the block above it (Howard & Ruder, arXiv:1801.06146).
      label_smoothing: probability shared by all classes (Szegedy et al., arXiv:1512.00567).
    """
    rate = WarmupDecay(learning_rate, steps=steps, warmup_steps=round(warmup_ratio * steps), shape=schedule)

    def loss(labels, logits):
        likely = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), logits.shape[-1])
        return keras.losses.categorical_crossentropy(likely, logits, from_logits=True, label_smoothing=label_smoothing)

    with tail.distribute_strategy.scope():
        optimizer = FusedAdamW(
            rate,
            weight_decay=weight_decay,
            decayed=distilbert.decayed,
            multiplier=lambda variable: layer_decay ** tail.layers_above(variable),
        )
        if loss_scaling:
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        tail.compile(
            optimizer,
            loss=loss,
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
            steps_per_execution=1 if tail.blocks else HEAD_STEPS_AT_ONCE,
        )
        tail.distribute_reduction_method = "first"  # metrics are over all replicas already; Keras would add them up


def fit(
    tail: TrainableLayers,
    features: Features,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    validate: Callable[[], dict[str, float]],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
    class_weights: np.ndarray | None = None,
    patience: int | None = None,
    checkpoints: Path | None = None,
    checkpoint_every: int | None = None,
) -> list[dict[str, float]]:
    """Trains the tail in place; with ``checkpoints``, from where a killed run left it, to the same weights.

    Args:
      tail: compiled.
      features: of the training rows.
      labels: int[rows].
      epochs: passes.
      batch_size: global.
      seed: orders the batches.
      validate: called after each epoch; what it returns joins the epoch's row as ``val_…``.
      callbacks: more Keras callbacks; they see the validation's values too.
      verbose: Keras' own: 1 draws a progress bar.
      class_weights: float32[classes] (see `balanced_weights`), or None for 1 each.
      patience: epochs without better validation accuracy after which training stops, with the best
        epoch's weights; None trains all epochs and keeps the last weights.
      checkpoints: this training's folder, empty or left by a killed run; None writes none.
      checkpoint_every: steps from one checkpoint to the next, beside the one at each epoch's end.

    Returns:
      One row per epoch: epoch (from 1), loss, accuracy, gradient_norm, val_…, padding (share of the batches'
      places), learning_rate (at its end), seconds.

    Raises:
      UserError: training diverged (with ``checkpoints`` alone).
    """
    steps = steps_per_epoch(len(features), batch_size)
    history: list[dict[str, float]] = []
    weights = np.ones(int(labels.max()) + 1, np.float32) if class_weights is None else class_weights
    settings = {"batch_size": batch_size, "seed": seed}
    row = EpochRow(
        history,
        validate,
        filled=steps * batch_size / len(features),
        padding=lambda epoch: features.padding_share(batching.training_plan(features.lengths, epoch=epoch, **settings)),
    )
    best = [KeepBest(patience)] if patience else []
    callbacks = [row, *callbacks, *best]

    batches = functools.partial(_batches, tail, features, labels, weights[labels], epochs=epochs, **settings)
    if checkpoints is None:
        tail.fit(batches(), steps_per_epoch=steps, epochs=epochs, verbose=verbose, callbacks=callbacks)
        return history
    keeper = Checkpointer(
        checkpoints, steps=steps, every=checkpoint_every, stateful=[row, *best], strategy=tail.distribute_strategy
    )
    keeper.restore(tail)
    if not keeper.is_done:
        is_over = any(callback.is_over for callback in best)  # the kill came between the last epoch and the end
        keeper.fit(
            tail,
            batches(first_epoch=keeper.epoch, first_step=keeper.step),
            epochs=keeper.epoch if is_over else epochs,
            verbose=verbose,
            callbacks=[*callbacks, keeper],
        )
    return history


def training_dataset(
    features: Features,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    first_step: int = 0,
    share: tuple[int, int, int] = (0, 1, 1),
) -> tf.data.Dataset:
    """All epochs' batches, one after another: (tail's inputs, int32[batch] labels, float32[batch] weights).

    A training that goes on gets what is left from ``first_step`` of ``first_epoch``, both counted from 0. A
    worker of several gets its ``share`` (its number, of how many, its replicas) of every global batch, a batch
    for each of its replicas in turn.
    """
    worker, workers, replicas = share
    lengths = features.lengths

    def plan(epoch):
        whole = batching.training_plan(lengths, batch_size=batch_size, seed=seed, epoch=epoch)
        return batching.share(whole, worker, workers, replicas)

    def gather(rows):
        return (
            features.gather(rows),
            labels[rows].astype(np.int32),
            np.where(rows != batching.FILLER, weights[rows], 0.0).astype(np.float32),
        )

    size = batch_size // (workers * replicas)
    signature = (features.signature(size), tf.TensorSpec([size], tf.int32), tf.TensorSpec([size], tf.float32))
    return batching.to_dataset(
        plan,
        epochs,
        gather,
        signature,
        batch_size=size,
        first_epoch=first_epoch,
        first_step=first_step * replicas,
    )


def _batches(tail: TrainableLayers, *args, **settings):
    """Returns `training_dataset`, dealt out to the workers of the tail's strategy where there are several."""
    strategy = tail.distribute_strategy
    worker, workers = collectives.workers(strategy)
    if workers == 1:  # Keras deals a batch out to the replicas itself
        return training_dataset(*args, **settings)
    return strategy.distribute_datasets_from_function(
        lambda context: training_dataset(
            *args, **settings, share=(worker, workers, context.num_replicas_in_sync // workers)
        )
    )


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns float32[classes]: rows / (classes × rows of the class), so that the mean weight of a row is 1."""
    return (len(labels) / (classes * np.maximum(np.bincount(labels, minlength=classes), 1))).astype(np.float32)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Returns how many batches hold all rows."""
    return -(-rows // batch_size)


def predict_logits(tail: TrainableLayers, features: Features) -> np.ndarray:
    """Returns float32[rows, classes] in row order: every row exactly once, dropout off, batches side by side.

    Of several workers each computes a share, and all get all.
    """
    weights = tail.read_weights()
    logits = np.zeros((len(features), weights.head.bias.shape[0]), np.float32)

    def run(numbered):
        _, rows = numbered
        inputs = {name: tf.constant(value) for name, value in features.gather(rows).items()}
        return (tail.evaluate_batch(weights, inputs).numpy(),)

    plan = batching.evaluation_plan(features.lengths, batch_size=EVALUATION_BATCH)
    batches = [rows[rows != batching.FILLER] for rows in plan]
    threads = 1 if tf.config.list_logical_devices("GPU") else runtime.cores()
    compute = functools.partial(runtime.side_by_side, run, workers=threads)
    for rows, (answers,) in collectives.shared_out(tail.distribute_strategy, batches, compute, like=[logits[:0]]):
        logits[rows] = answers
    return logits


def loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns mean cross-entropy in nats, and the share of rows whose largest logit is the label's."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return {"loss": float(-likelihood.mean()), "accuracy": float((logits.argmax(axis=1) == labels).mean())}
