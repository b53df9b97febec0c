"""What a killed training needs to continue exactly: written to checkpoints, and restored from them.

Dropout is a function of (seed, step) and the order of batches one of (seed, epoch). The state of training is
therefore its variables, the position in the batch plan, and what the stateful callbacks have collected.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.distributed import collectives
from sentiment_tf.errors import UserError
from sentiment_tf.system import signals
from sentiment_tf.training import checkpoints, keras_internals

# With several workers, steps between two checks whether any of them received a signal: each check is a collective.
SIGNAL_CHECK_EVERY = 20

log = logging.getLogger("sentiment_tf")


class Checkpointer(keras.callbacks.Callback):
    """Writes checkpoints while a model trains, and restores the newest one.

    It comes last in the list of callbacks, so that a checkpoint contains what the others do at the end of an epoch.

    Attributes:
      epoch: Number of complete epochs.
      step: Number of steps done in the epoch after them.
      is_done: Whether this training ran to its end.
    """

    def __init__(self, folder: Path, model: keras.Model, *, steps: int, every: int | None, stateful: Sequence):
        """Reads the newest checkpoint; with several workers, the chief's.

        Args:
          folder: Folder of this training alone.
          model: Compiled.
          steps: Steps per epoch.
          every: Steps between checkpoints, in addition to the one at the end of each epoch; None writes only those.
          stateful: Callbacks whose ``state() -> (record, arrays)`` and ``restore(record, arrays)`` let them continue.
        """
        super().__init__()
        keras_internals.keep_tensors_in_logs(self)
        self.set_model(model)
        self._folder, self._steps, self._every, self._stateful = folder, steps, every, stateful
        self._strategy = model.distribute_strategy
        self._signal_check_every = 1 if collectives.workers(self._strategy)[1] == 1 else SIGNAL_CHECK_EVERY
        self._signals: list[int] = []
        self._found = _newest(folder, self._strategy)
        position = self._found.record if self._found else {"epoch": 0, "step": 0, "done": False}
        self.epoch, self.step, self.is_done = position["epoch"], position["step"], position["done"]

    def restore(self) -> None:
        """Restores the model, its optimizer and the stateful callbacks; the metrics follow in the first epoch."""
        if self._found is None:
            return
        arrays, record = self._found.arrays, self._found.record
        self._assign("weights", self.model.trainable_variables)
        if not self.is_done:
            with self._strategy.scope():
                self.model.optimizer.build(self.model.trainable_variables)
            self._assign("optimizer", keras_internals.optimizer_variables(self.model.optimizer))
        for number, callback in enumerate(self._stateful):
            callback.restore(record["callbacks"][number], _unnumbered(f"callback{number}", arrays))
        metrics = {name: array for name, array in arrays.items() if name.startswith("metrics")}
        self._found = checkpoints.Checkpoint(metrics, record)  # the other arrays need not stay in memory
        if not self.is_done:
            log.info("  continuing after step %d (epoch %d)", self._total, self.epoch + 1)

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Has ``fit`` begin at the checkpoint's step, and signals wait until a checkpoint is written."""
        with (
            signals.deferred() as self._signals,
            keras_internals.fit_begins_at(self.model, epoch=self.epoch, step=self.step),
        ):
            yield

    def on_epoch_begin(self, epoch, logs=None):
        """Restores the running means of the metrics, which Keras has just reset."""
        if self.step and epoch == self._found.record["epoch"]:
            self._assign("metrics", keras_internals.metric_variables(self.model))

    def on_train_batch_end(self, batch, logs=None):
        """Checks the loss, and writes a checkpoint if one is due or a signal has arrived."""
        before = self._total
        self.step = batch + 1  # several steps later, if Keras runs several in one call
        self._check(float(logs["loss"]), "loss", since=before)
        if self.step == self._steps:  # the end of the epoch follows
            return
        signal = self._signal() if self._passed(before, self._signal_check_every) else 0
        if signal or (self._every and self._passed(before, self._every)):
            self._write()
        self._obey(signal)

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint."""
        self.epoch, self.step = epoch + 1, 0
        self._write()
        self._obey(self._signal())

    def on_train_end(self, logs=None):
        """Writes the final weights and that training is done."""
        self._write(done=True)
        self._obey(self._signal())

    @property
    def _total(self) -> int:
        """Number of steps done over all epochs."""
        return self.epoch * self._steps + self.step

    def _passed(self, before: int, every: int) -> bool:
        """Returns whether a multiple of ``every`` steps was reached after ``before`` steps."""
        return self._total // every > before // every

    def _signal(self) -> int:
        """Returns a signal that any worker received, or 0."""
        own = np.array(self._signals[:1] or [0], np.int32)
        return int(collectives.all_gather(self._strategy, own).max())

    def _obey(self, signal: int) -> None:
        if signal:
            collectives.final_barrier(self._strategy)
            signals.stop(
                signal,
                f"a checkpoint was written after step {self._total} (epoch {self.epoch + (self.step > 0)}); "
                "the same command continues from there",
            )

    def _write(self, *, done: bool = False) -> None:
        """Writes the newest checkpoint; deletes all others but the best epoch's.

        All workers read the variables (a running mean is summed over them), and the chief writes.
        """
        arrays = _numbered("weights", [variable.numpy() for variable in self.model.trainable_variables])
        for name, array in arrays.items():
            self._check(float(np.abs(array).max(initial=0.0)), name)
        if not done:
            of_optimizer = keras_internals.optimizer_variables(self.model.optimizer)
            arrays |= _numbered("optimizer", [variable.numpy() for variable in of_optimizer])
            of_metrics = keras_internals.metric_variables(self.model)
            arrays |= _numbered("metrics", [variable.numpy() for variable in of_metrics])
        states = []
        for number, callback in enumerate(self._stateful):
            state, of_callback = callback.state()
            states.append(state)
            arrays |= {} if done else _numbered(f"callback{number}", of_callback)
        record = {"epoch": self.epoch, "step": self.step, "done": done, "callbacks": states}
        self.is_done = done
        if not self._strategy.extended.should_checkpoint:
            return
        newest = checkpoints.write(self._folder, step=self._total + done, arrays=arrays, record=record)
        best = set() if done else {self._best_epoch() * self._steps}
        checkpoints.keep(self._folder, newest=newest, steps=best)

    def _best_epoch(self) -> int:
        rows = next((callback.history for callback in self._stateful if hasattr(callback, "history")), [])
        scored = [row for row in rows if "val_accuracy" in row]
        best = max(scored, key=lambda row: (row["val_accuracy"], -row["val_loss"]), default={"epoch": 0})
        return int(best["epoch"])

    def _check(self, value: float, name: str, *, since: int | None = None) -> None:
        if math.isfinite(value):
            return
        step = self._total
        at = f"at step {step}" if since is None or step == since + 1 else f"between steps {since + 1} and {step}"
        kept = checkpoints.files(self._folder)
        last = (
            f"the checkpoint of step {checkpoints.step_of(kept[0])} is kept" if kept else "there is no checkpoint yet"
        )
        raise UserError(
            f"training diverged: {'the loss' if name == 'loss' else 'a weight'} is {value} {at} "
            f"(epoch {step // self._steps + bool(step % self._steps)}); {last}. Pass a lower --learning_rate, "
            "a higher --warmup_ratio or --precision=float32, with --overwrite to start afresh"
        )

    def _assign(self, kind: str, variables: Sequence[tf.Variable]) -> None:
        for variable, value in zip(variables, _unnumbered(kind, self._found.arrays), strict=True):
            variable.assign(value)


def _newest(folder: Path, strategy: tf.distribute.Strategy) -> checkpoints.Checkpoint | None:
    index, count = collectives.workers(strategy)
    found = checkpoints.read_newest(folder) if index == 0 else None
    if count == 1:
        return found
    content = collectives.broadcast(strategy, checkpoints.to_bytes(found) if found else b"")
    return checkpoints.from_bytes(content) if content else None


def _numbered(kind: str, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}.{number:04d}": value for number, value in enumerate(values)}


def _unnumbered(kind: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name] for name in sorted(arrays) if name.rpartition(".")[0] == kind]
