"""What TensorBoard shows of a run: curves while it trains, results when it is done.

Layout below a run's ``logs``: ``train`` and ``validation`` hold the same tags, so that their curves overlay
in one chart; the folder itself holds the results, the settings and the run's row of the HParams table.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from scipy.special import softmax
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.pr_curve import summary as pr_curve

from sentiment_tf.reporting import diagnostics, formatting, style
from sentiment_tf.training import keras_internals

# Settings that say where and how loudly, not what is trained.
_NOT_TUNED = frozenset({"output_dir", "cache_dir", "run_name", "overwrite", "quiet", "profile_steps"})
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&])")
_LONGEST_TEXT = 1_000  # characters


class Curves(keras.callbacks.Callback):
    """Writes scalars by step and by epoch; it reads nothing from the device between its points.

    ``step/loss`` and ``step/accuracy`` are means over the steps since the last point, not over the epoch so
    far as Keras' own are; only the first point of a training that goes on in the middle of an epoch is such a
    mean, too. A value "gradient_norm" in the logs of a batch is written too. Of an epoch's logs, ``val_x``
    becomes ``epoch/x`` of validation, everything else ``epoch/…`` of train. Trainings one after another, such as
    a depth search's, each want Curves with a directory of their own: steps and epochs start anew.
    """

    def __init__(self, directory: str | os.PathLike, *, batch_size: int, every: int = 50):
        """Makes the writers.

        Args:
          directory: the run's ``logs``, or a folder of one training in it.
          batch_size: texts per step, for the rate.
          every: steps from one point to the next; the last step of an epoch always makes one.
        """
        super().__init__()
        keras_internals.keep_tensors_in_logs(self)
        self._batch_size, self._every = batch_size, every
        self._train, self._validation = (
            tf.summary.create_file_writer(str(Path(directory) / split)) for split in ("train", "validation")
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Starts the means anew."""
        self._done, self._averaged, self._means = None, 0, {}

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Starts the clock at an epoch's first step, which is not step 0 where a killed training goes on."""
        if self._done is None:
            self._done, self._since = batch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Writes a point where one is due."""
        done = batch + 1
        if done // self._every == self._done // self._every and done != self.params.get("steps"):
            return
        means = {name: float(value) for name, value in logs.items()}
        passed, elapsed = done - self._done, time.perf_counter() - self._since
        values = {
            name: (mean * done - self._means.get(name, 0.0) * self._averaged) / (done - self._averaged)
            for name, mean in means.items()
            if name != "gradient_norm"
        }
        values["examples_per_second"] = passed * self._batch_size / max(elapsed, 1e-9)
        values["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        if "gradient_norm" in means:
            values["gradient_norm"] = means["gradient_norm"]
        _scalars(self._train, "step", values, step=int(self.model.optimizer.iterations.numpy()))
        self._done, self._averaged, self._means, self._since = done, done, means, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the epoch's values to the split that they are of."""
        validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        _scalars(self._train, "epoch", train, step=epoch + 1)
        _scalars(self._validation, "epoch", validation, step=epoch + 1)
        self._train.flush()
        self._validation.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Writes out what is held back; the files stay open, for training may start again."""
        self._train.flush()
        self._validation.flush()


class Profile(keras.callbacks.Callback):
    """Records what the devices do between two steps, for TensorBoard's profiler."""

    def __init__(self, directory: str | os.PathLike, *, first: int, last: int):
        """Steps are counted from 1; both ends are profiled, and all that Keras runs at once with them."""
        super().__init__()
        self._directory, self._first, self._last = str(directory), first, last
        self._began, self._running = False, False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Keeps Keras from warning that a callback (this one, when it starts and stops) is slower than a step."""
        tf.get_logger().addFilter(_is_no_hint_at_slow_callbacks)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Starts at the first step, or before the steps that Keras runs at once with it.

        A training that goes on after the last one has nothing left to record.
        """
        if self._began:
            return
        at_once, done = (int(count) for count in (self.model.steps_per_execution, self.model.optimizer.iterations))
        if self._first <= done + at_once and done < self._last:
            tf.profiler.experimental.start(self._directory)
            self._began = self._running = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops after the last one."""
        if self._running and int(self.model.optimizer.iterations.numpy()) >= self._last:
            self._stop()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Stops where training was shorter."""
        self._stop()
        tf.get_logger().removeFilter(_is_no_hint_at_slow_callbacks)

    def _stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False


def _is_no_hint_at_slow_callbacks(record: logging.LogRecord) -> bool:
    return "is slow compared to the batch time" not in record.getMessage()


def write_results(
    directory: str | os.PathLike,
    *,
    run: Mapping[str, Any],
    texts: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray,
    mistakes: Sequence[int],
) -> None:
    """Writes what a finished run came to.

    Scalars ``result/<metric>``, the HParams row that compares runs by them, confusion matrix and reliability
    diagram as images, a precision-recall curve (per class where there are more than two), misclassified texts
    and the settings as text.

    Args:
      directory: the run's ``logs``.
      run: content of run.json.
      texts: str[rows] that the run is reported on.
      labels: int[rows].
      logits: float32[rows, classes] after training.
      mistakes: rows to show as text.
    """
    result, names = run["metrics"]["after"], run["label_names"]
    temperature = (run.get("calibration") or {}).get("temperature", 1.0)
    probabilities = softmax(np.asarray(logits, np.float64), axis=-1)
    with tf.summary.create_file_writer(str(directory)).as_default(step=0) as writer:
        values = {name: result[name] for name in formatting.METRICS if result.get(name) is not None}
        if run.get("times"):
            values["minutes"] = sum(run["times"].values()) / 60
        _scalars(writer, "result", values, step=0)
        _hyperparameters(run["config"])
        pictures = {
            "confusion": diagnostics.confusion(result["confusion"], names),
            "reliability": diagnostics.reliability(logits, labels, temperature=temperature),
        }
        for name, picture in pictures.items():
            tf.summary.image(name, style.pixels(picture)[None])
        _precision_recall(probabilities, np.asarray(labels), names)
        tf.summary.text("misclassified", _mistakes_table(texts, labels, probabilities, names, mistakes))
        tf.summary.text("settings", _settings_table(run["config"]))
        writer.close()


def _scalars(writer: tf.summary.SummaryWriter, group: str, values: Mapping[str, float], *, step: int) -> None:
    with writer.as_default(step=step):
        for name, value in values.items():
            tf.summary.scalar(f"{group}/{name}", float(value))


def _hyperparameters(config: Mapping[str, Any]) -> None:
    """Writes one row of the HParams table: the settings, and which scalars are its metrics.

    Every setting and metric is declared, those that this run leaves open as well: TensorBoard takes the columns
    of all runs from one of them.
    """
    tuned = {name: value for name, value in config.items() if name not in _NOT_TUNED}
    hparams.hparams_config(
        hparams=[hparams.HParam(name) for name in tuned],
        metrics=[hparams.Metric(f"result/{name}", display_name=name) for name in (*formatting.METRICS, "minutes")],
    )
    settings = {name: value for name, value in tuned.items() if value is not None}
    # The row's name says which run it is; the digest keeps runs of one name in two places apart.
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    hparams.hparams(settings, trial_id=f"{config.get('run_name', 'run')} {digest}")


def _precision_recall(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    for number in range(len(names)) if len(names) > 2 else [1]:
        picture = pr_curve.pb(
            f"precision_recall/{names[number]}",
            labels == number,
            probabilities[:, number],
            num_thresholds=127,
        )
        tf.summary.experimental.write_raw_pb(picture.SerializeToString())


def _mistakes_table(
    texts: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    rows: Sequence[int],
) -> list[list[str]]:
    """Returns cells of Markdown; TensorBoard draws them as a table."""
    table = [["row", "true", "predicted", "probability", "text"]]
    for row in rows:
        predicted = int(probabilities[row].argmax())
        words = [names[int(labels[row])], names[predicted]]
        text = _plain(texts[row][:_LONGEST_TEXT])
        table.append([str(row), *map(_plain, words), f"{probabilities[row, predicted]:.3f}", text])
    return table


def _settings_table(config: Mapping[str, Any]) -> list[list[str]]:
    rows = [[_plain(name), _plain(str(value))] for name, value in config.items() if value is not None]
    return [["setting", "value"], *rows]


def _plain(text: str) -> str:
    """Returns text that Markdown leaves as it is, on one line and in valid Unicode."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return _MARKDOWN.sub(r"\\\1", line)
