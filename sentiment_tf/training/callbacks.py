"""What happens at the end of each epoch: its row of the history, and early stopping."""

import time
from collections.abc import Callable

import numpy as np
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import batching
from sentiment_tf.modeling.features import Features


class EpochRow(keras.callbacks.Callback):
    """Collects a row for each epoch; comes first, so that other callbacks find the validation scores in the logs.

    Attributes:
      history: The rows.
    """

    def __init__(self, config: TrainConfig, features: Features, validate: Callable[[], dict[str, float]]):
        """Makes the callback.

        Args:
          config: Its batch_size and seed determine the batches.
          features: Features of the training rows.
          validate: Called after each epoch; its scores join the row under ``val_`` and their names.
        """
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._config, self._features, self._validate = config, features, validate
        self._start = time.perf_counter()
        self._seconds_before = 0.0  # that the epoch had taken when the run was killed

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._start, self._seconds_before = time.perf_counter() - self._seconds_before, 0.0

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row."""
        plan = self._plan(epoch)
        logs["loss"] *= plan.size / len(self._features)  # Keras' mean counts the rows that fill up the last batch
        logs |= {f"val_{name}": value for name, value in self._validate().items()}
        logs["padding"] = self._features.padding_share(plan)
        logs["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        logs["seconds"] = time.perf_counter() - self._start
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
        self._start = time.perf_counter()

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Returns what `restore` needs, for a checkpoint."""
        return {"history": self.history, "seconds": time.perf_counter() - self._start}, []

    def restore(self, record: dict, arrays: list[np.ndarray]) -> None:
        """Restores the rows of earlier epochs and the time that the current one has taken."""
        self.history[:] = record["history"]
        self._seconds_before = record["seconds"]

    def _plan(self, epoch: int) -> np.ndarray:
        settings = {"batch_size": self._config.batch_size, "seed": self._config.seed}
        return batching.training_plan(self._features.lengths, epoch=epoch, **settings)


class KeepBest(keras.callbacks.Callback):
    """Stops training when validation accuracy no longer rises, and restores the weights of the best epoch.

    Of two epochs with equal accuracy the one with the lower loss is better.
    """

    def __init__(self, patience: int):
        """Stops after ``patience`` epochs without a better one."""
        super().__init__()
        self._patience, self._waited = patience, 0
        self._best: tuple[float, float] | None = None
        self._weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch, logs=None):
        """Compares the epoch with the best one so far."""
        score = (logs["val_accuracy"], -logs["val_loss"])
        if self._best is None or score > self._best:
            self._best, self._waited = score, 0
            self._weights = [variable.numpy() for variable in self.model.trainable_variables]
            return
        self._waited += 1
        if self.is_over:
            self.model.stop_training = True

    @property
    def is_over(self) -> bool:
        """Whether patience has run out."""
        return self._waited >= self._patience

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Returns what `restore` needs, for a checkpoint."""
        return {"best": self._best, "waited": self._waited}, self._weights or []

    def restore(self, record: dict, arrays: list[np.ndarray]) -> None:
        """Restores the best epoch and the number of epochs since."""
        self._best = None if record["best"] is None else tuple(record["best"])
        self._weights, self._waited = arrays, record["waited"]

    def on_train_end(self, logs=None):
        """Restores the best weights, whether training was stopped or not."""
        for variable, value in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(value)
