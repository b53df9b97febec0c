"""What a killed training needs to go on exactly: gathered into checkpoints, put back from them.

Dropout is a function of (seed, step) and the order of batches one of (seed, epoch), so the state of training
is its variables, the place in the plan, and what the stateful callbacks have gathered.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.distributed import collectives
from sentiment_tf.errors import UserError
from sentiment_tf.system import signals
from sentiment_tf.training import checkpoints

ASK_EVERY = 20  # steps after which several workers ask each other whether a signal came: that is an exchange, too

log = logging.getLogger("sentiment_tf")


class Checkpointer(keras.callbacks.Callback):
    """Writes checkpoints while a model trains, and starts a training from the newest one.

    It comes last among the callbacks, so that the others have seen an epoch's end when it is written down.

    Attributes:
      epoch: whole epochs that are done.
      step: steps done of the epoch after them.
      is_done: whether this training ran to its end.
    """

    def __init__(self, folder: Path, *, steps: int, every: int | None, stateful: Sequence, strategy):
        """Reads the newest checkpoint, of several workers the chief's.

        Args:
          folder: of this training alone.
          steps: per epoch.
          every: steps from one checkpoint to the next, beside the one at each epoch's end.
          stateful: callbacks whose ``state() -> (record, arrays)`` and ``restore(record, arrays)`` make them go on.
          strategy: of the run.
        """
        super().__init__()
        self._supports_tf_logs = True  # Keras then converts nothing that we do not ask for
        self._folder, self._steps, self._every, self._stateful = folder, steps, every, stateful
        self._strategy = strategy
        self._ask_every = 1 if collectives.workers(strategy)[1] == 1 else ASK_EVERY
        self._asked: list[int] = []
        self._found = _newest(folder, strategy)
        place = self._found.record if self._found else {"epoch": 0, "step": 0, "done": False}
        self.epoch, self.step, self.is_done = place["epoch"], place["step"], place["done"]

    def restore(self, tail: keras.Model) -> None:
        """Puts everything but the metrics back into a compiled model and the stateful callbacks."""
        if self._found is None:
            return
        arrays, record = self._found.arrays, self._found.record
        self._assign("weights", tail.trainable_variables)
        if not self.is_done:
            with tail.distribute_strategy.scope():
                tail.optimizer.build(tail.trainable_variables)
            self._assign("optimizer", _optimizer_variables(tail.optimizer))
        for number, callback in enumerate(self._stateful):
            callback.restore(record["callbacks"][number], _unnumbered(f"callback{number}", arrays))
        means = {name: array for name, array in arrays.items() if name.startswith("metrics")}
        self._found = checkpoints.Checkpoint(means, record)  # the rest need not stay in memory
        if not self.is_done:
            log.info("  going on after step %d (epoch %d)", self.epoch * self._steps + self.step, self.epoch + 1)

    def fit(self, tail: keras.Model, dataset, *, epochs: int, **settings) -> None:
        """Calls the model's ``fit`` from where the checkpoint stands, and writes down that it ended.

        Args:
          tail: restored.
          dataset: of the batches that are left.
          epochs: at whose end training ends.
          **settings: of Keras' ``fit``.

        Raises:
          UserError: the loss is no longer finite.
          KeyboardInterrupt, signals.Terminated: a signal asked for it; a checkpoint was written.
        """
        # The place where Keras' own BackupAndRestore sits: it is asked for the epoch and the step to begin at.
        tail._training_state = self
        with signals.deferred() as self._asked:
            try:
                tail.fit(dataset, steps_per_epoch=self._steps, epochs=epochs, **settings)
            finally:
                tail._training_state = None
            self._write(done=True)
            self._obey(self._signal())

    def maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch, mode) -> tuple[int, int]:
        """Tells Keras' ``fit`` the epoch and the step to begin at, both counted from 0."""
        return self.epoch, self.step

    def on_epoch_begin(self, epoch, logs=None):
        """Puts the running means back, which Keras has just set to zero."""
        if self.step and epoch == self._found.record["epoch"]:
            self._assign("metrics", _metric_variables(self.model))

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the loss, and writes a checkpoint where one is due or a signal asks for it."""
        before = self.epoch * self._steps + self.step
        self.step = batch + 1  # several steps later, where Keras runs them at once
        self._check(float(logs["loss"]), "loss", since=before)
        if self.step == self._steps:  # the epoch's end follows
            return
        signal = self._signal() if self._passed(before, self._ask_every) else 0
        if signal or (self._every and self._passed(before, self._every)):
            self._write()
        self._obey(signal)

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint."""
        self.epoch, self.step = epoch + 1, 0
        self._write()
        self._obey(self._signal())

    def _passed(self, before: int, every: int) -> bool:
        """Returns whether a multiple of ``every`` steps was reached since there were ``before``."""
        return (self.epoch * self._steps + self.step) // every > before // every

    def _signal(self) -> int:
        """Returns the signal to obey, of several workers that which any of them got; 0 for none."""
        mine = np.array(self._asked[:1] or [0], np.int32)
        return int(collectives.gather(self._strategy, mine).max())

    def _obey(self, signal: int) -> None:
        if signal:
            collectives.part(self._strategy)
            signals.stop(
                signal,
                f"a checkpoint was written after step {self.epoch * self._steps + self.step} "
                f"(epoch {self.epoch + (self.step > 0)}); the same command goes on from there",
            )

    def _write(self, *, done: bool = False) -> None:
        """Writes the newest checkpoint; all but it and the best epoch's are deleted.

        Of several workers all read (a running mean is added up over them), and the chief writes.
        """
        arrays = _numbered("weights", [variable.numpy() for variable in self.model.trainable_variables])
        for name, array in arrays.items():
            self._check(float(np.abs(array).max(initial=0.0)), name)
        if not done:
            arrays |= _numbered("optimizer", [v.numpy() for v in _optimizer_variables(self.model.optimizer)])
            arrays |= _numbered("metrics", [v.numpy() for v in _metric_variables(self.model)])
        record = {"epoch": self.epoch, "step": self.step, "done": done, "callbacks": []}
        for number, callback in enumerate(self._stateful):
            gathered, of_callback = callback.state()
            record["callbacks"].append(gathered)
            arrays |= {} if done else _numbered(f"callback{number}", of_callback)
        self.is_done = done
        if not self.model.distribute_strategy.extended.should_checkpoint:
            return
        total = self.epoch * self._steps + self.step
        newest = checkpoints.write(self._folder, step=total + done, arrays=arrays, record=record)
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
        step = self.epoch * self._steps + self.step
        at = f"at step {step}" if since is None or step == since + 1 else f"between the steps {since + 1} and {step}"
        kept = checkpoints.files(self._folder)
        last = f"the checkpoint of step {int(kept[0].stem.split('-')[0])} is kept" if kept else "none was written yet"
        raise UserError(
            f"training diverged: {'the loss' if name == 'loss' else 'a weight'} is {value} {at} "
            f"(epoch {step // self._steps + bool(step % self._steps)}); {last}. Pass a lower --learning_rate, "
            "a higher --warmup_ratio or --precision=float32, with --overwrite to start afresh"
        )

    def _assign(self, kind: str, variables: Sequence[tf.Variable]) -> None:
        for variable, value in zip(variables, _unnumbered(kind, self._found.arrays), strict=True):
            variable.assign(value)


def _newest(folder: Path, strategy) -> checkpoints.Checkpoint | None:
    number, count = collectives.workers(strategy)
    found = checkpoints.read_newest(folder) if number == 0 else None
    if count == 1:
        return found
    content = collectives.bytes_from_chief(strategy, checkpoints.to_bytes(found) if found else b"")
    return checkpoints.from_bytes(content) if content else None


def _optimizer_variables(optimizer) -> list[tf.Variable]:
    """Returns the moments and the step; with loss scaling also the scale and its counter."""
    scale = getattr(optimizer, "_loss_scale", None)
    extra = [scale.current_loss_scale, scale.counter] if scale is not None else []
    return [*getattr(optimizer, "inner_optimizer", optimizer).variables, *extra]


def _metric_variables(tail: keras.Model) -> list[tf.Variable]:
    """Returns the running means of loss and metrics; ``tail.metrics`` would be empty before the first batch."""
    metrics = [tail.compiled_loss._total_loss_mean, *tf.nest.flatten(tail.compiled_metrics._user_weighted_metrics)]
    return [variable for metric in metrics for variable in metric.variables]


def _numbered(kind: str, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{kind}.{number:04d}": value for number, value in enumerate(values)}


def _unnumbered(kind: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name] for name in sorted(arrays) if name.rpartition(".")[0] == kind]
