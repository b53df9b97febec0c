"""What happens at the end of each epoch: its row of the history, and whether to stop."""

import time
from collections.abc import Callable

import numpy as np
import tf_keras as keras


class EpochRow(keras.callbacks.Callback):
    """Gathers each epoch's row, with the validation's values, before other callbacks see the logs.

    Attributes:
      history: the rows.
    """

    def __init__(
        self,
        history: list,
        validate: Callable[[], dict[str, float]],
        *,
        filled: float,
        padding: Callable[[int], float],
    ):
        """Makes the callback.

        Args:
          history: gets the rows.
          validate: called after each epoch.
          filled: places over rows, at least 1 (see `batching.training_plan`).
          padding: gives an epoch's (from 0) share of padding in its batches.
        """
        super().__init__()
        self.history, self._validate, self._filled, self._padding = history, validate, filled, padding
        self._began = time.perf_counter()
        self._before = 0.0  # seconds of the epoch that passed before the run was killed

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._began, self._before = time.perf_counter() - self._before, 0.0

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row; the loss is put right, whose mean counts filler rows (of weight 0) as rows."""
        logs["loss"] *= self._filled
        logs |= {f"val_{name}": value for name, value in self._validate().items()}
        logs["padding"] = self._padding(epoch)
        logs["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        logs["seconds"] = time.perf_counter() - self._began
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
        self._began = time.perf_counter()

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Returns what `restore` needs, for a checkpoint."""
        return {"history": self.history, "seconds": time.perf_counter() - self._began}, []

    def restore(self, record: dict, arrays: list[np.ndarray]) -> None:
        """Puts the rows of earlier epochs in."""
        self.history[:] = record["history"]
        self._before = record["seconds"]


class KeepBest(keras.callbacks.Callback):
    """Stops when validation accuracy no longer rises, and puts the best epoch's weights back.

    Of two epochs with the same accuracy the one with the lower loss is better.
    """

    def __init__(self, patience: int):
        """Waits ``patience`` epochs for a better one."""
        super().__init__()
        self._patience, self._best, self._weights, self._waited = patience, None, None, 0

    def on_epoch_end(self, epoch, logs=None):
        """Compares with the best so far."""
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
        """Goes on waiting where a killed run was."""
        self._best = None if record["best"] is None else tuple(record["best"])
        self._weights, self._waited = arrays, record["waited"]

    def on_train_end(self, logs=None):
        """Restores the best weights, whether training was stopped or ran out."""
        for variable, value in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(value)
