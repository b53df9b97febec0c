"""TensorBoard: curves during training, results at the end.

Layout below a run's ``logs``: ``train`` and ``validation`` have the same tags, so that their curves share a chart; the
folder itself has the results, the settings and the run's row of the HParams table.
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

from sentiment_tf.config import INCIDENTAL
from sentiment_tf.evaluation import breakdown, metrics
from sentiment_tf.reporting import diagnostics, style
from sentiment_tf.reporting.rows import ReportedRows
from sentiment_tf.training import keras_internals

MISTAKES_SHOWN = 50
_OVER_SEEDS = ("mean", "least", "most")  # of each metric, where --seeds trained several times
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&])")
_LONGEST_TEXT = 1_000  # characters


class Curves(keras.callbacks.Callback):
    """Writes scalars by step and by epoch; between two points it reads nothing from the device.

    ``step/loss`` and ``step/accuracy`` are means over the steps since the last point. Keras' own values are means over
    the epoch so far; only the first point after resuming in the middle of an epoch is such a mean. If a batch's logs
    have "gradient_norm", it becomes ``step/gradient_norm``. ``val_x`` in an epoch's logs becomes ``epoch/x`` of
    validation, every other value ``epoch/…`` of train. Several trainings in one run, as in a depth search, need Curves
    with a directory each, because steps and epochs start again at 0.
    """

    def __init__(self, directory: str | os.PathLike, *, batch_size: int, every: int = 50):
        """Creates the writers.

        Args:
          directory: the run's ``logs``, or a folder in it for one of several trainings.
          batch_size: texts per step, for ``examples_per_second``.
          every: steps between two points; the last step of an epoch always gets a point.
        """
        super().__init__()
        keras_internals.keep_tensors_in_logs(self)
        self._batch_size, self._every = batch_size, every
        self._train, self._validation = (
            tf.summary.create_file_writer(str(Path(directory) / split)) for split in ("train", "validation")
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Resets the means."""
        self._done: int | None = None
        self._averaged, self._means = 0, {}

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Starts the clock at the epoch's first step, which is not step 0 after resuming."""
        if self._done is None:
            self._done, self._since = batch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Writes a point if one is due."""
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
        """Writes the epoch's values, each to its split."""
        validation = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        _scalars(self._train, "epoch", train, step=epoch + 1)
        _scalars(self._validation, "epoch", validation, step=epoch + 1)
        self._train.flush()
        self._validation.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Flushes the writers; they stay open, because training may start again."""
        self._train.flush()
        self._validation.flush()


class Profile(keras.callbacks.Callback):
    """Profiles the training steps between two step numbers."""

    def __init__(self, directory: str | os.PathLike, *, first: int, last: int):
        """Sets the range.

        Args:
          directory: the run's ``logs``, or a folder in it for one of several trainings.
          first, last: profiled steps, counted from 1, both included. With ``steps_per_execution`` above 1, all
            steps of the same execution are profiled.
        """
        super().__init__()
        self._directory, self._first, self._last = str(directory), first, last
        self._began, self._running = False, False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Hides Keras' warning that a callback is slower than a step: this one is, when it starts and stops."""
        tf.get_logger().addFilter(_is_not_about_slow_callbacks)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Starts the profiler before the execution that contains the first step.

        A training that resumes after the last step is not profiled.
        """
        if self._began:
            return
        at_once, done = (int(count) for count in (self.model.steps_per_execution, self.model.optimizer.iterations))
        if self._first <= done + at_once and done < self._last:
            tf.profiler.experimental.start(self._directory)
            self._began = self._running = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops the profiler after the last step."""
        if self._running and int(self.model.optimizer.iterations.numpy()) >= self._last:
            self._stop()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Stops the profiler if training ends before the last step."""
        self._stop()
        tf.get_logger().removeFilter(_is_not_about_slow_callbacks)

    def _stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False


def _is_not_about_slow_callbacks(record: logging.LogRecord) -> bool:
    return "is slow compared to the batch time" not in record.getMessage()


def write_results(directory: str | os.PathLike, *, run: Mapping[str, Any], rows: ReportedRows) -> None:
    """Writes the results of a finished run.

    Scalars ``result/<metric>``, the run's row of the HParams table, confusion matrix and reliability diagram as images,
    a precision-recall curve (one per class if there are more than two), the most confident mistakes and the settings as
    text.

    Args:
      directory: the run's ``logs``.
      run: content of run.json.
      rows: the reported rows.
    """
    result, names = run["metrics"]["after"], run["label_names"]
    temperature = (run.get("calibration") or {}).get("temperature", 1.0)
    labels, probabilities = rows.labels, softmax(np.asarray(rows.logits_after, np.float64), axis=-1)
    with tf.summary.create_file_writer(str(directory)).as_default(step=0) as writer:
        values = {metric.name: result.get(metric.name) for metric in metrics.METRICS}
        values = {name: value for name, value in values.items() if value is not None}
        for name, found in run["metrics"].get("over_seeds", {}).items():
            values |= {f"{name}_{statistic}": found[statistic] for statistic in _OVER_SEEDS}
        if run.get("times"):
            values["minutes"] = sum(run["times"].values()) / 60
        _scalars(writer, "result", values, step=0)
        _hyperparameters(run["config"])
        figures = {
            "confusion": diagnostics.confusion(result["confusion"], names),
            "reliability": diagnostics.reliability(rows.logits_after, labels, temperature=temperature),
        }
        for name, figure in figures.items():
            tf.summary.image(name, style.pixels(figure)[None])
        _precision_recall(probabilities, labels, names)
        tf.summary.text("misclassified", _mistakes_table(rows, probabilities, names))
        tf.summary.text("settings", _settings_table(run["config"]))
        writer.close()


def _scalars(writer: tf.summary.SummaryWriter, group: str, values: Mapping[str, float], *, step: int) -> None:
    with writer.as_default(step=step):
        for name, value in values.items():
            tf.summary.scalar(f"{group}/{name}", float(value))


def _hyperparameters(config: Mapping[str, Any]) -> None:
    """Writes the run's row of the HParams table: the settings that change what is trained, and the metrics' tags.

    Every setting and metric is declared, including those that this run leaves unset: TensorBoard takes the columns of
    all runs from one of them.
    """
    names = [metric.name for metric in metrics.METRICS]
    columns = [*names, "minutes", *(f"{name}_{statistic}" for name in names for statistic in _OVER_SEEDS)]
    tuned = {name: value for name, value in config.items() if name not in INCIDENTAL}
    hparams.hparams_config(
        hparams=[hparams.HParam(name) for name in tuned],
        metrics=[hparams.Metric(f"result/{name}", display_name=name) for name in columns],
    )
    settings = {name: value for name, value in tuned.items() if value is not None}
    # The digest distinguishes runs of the same name in two folders if their settings differ.
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    hparams.hparams(settings, trial_id=f"{config.get('run_name', 'run')} {digest}")


def _precision_recall(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    for number in range(len(names)) if len(names) > 2 else [1]:
        curve = pr_curve.pb(
            f"precision_recall/{names[number]}",
            labels == number,
            probabilities[:, number],
            num_thresholds=127,
        )
        tf.summary.experimental.write_raw_pb(curve.SerializeToString())


def _mistakes_table(rows: ReportedRows, probabilities: np.ndarray, names: Sequence[str]) -> list[list[str]]:
    """Returns the most confident mistakes as cells of Markdown, which TensorBoard shows as a table."""
    table = [["row", "true", "predicted", "probability", "text"]]
    for row in breakdown.mistakes(rows.logits_after, rows.labels, predicted=rows.predicted)[:MISTAKES_SHOWN]:
        predicted = int(probabilities[row].argmax() if rows.predicted is None else rows.predicted[row])
        classes = [names[int(rows.labels[row])], names[predicted]]
        text = _plain(rows.texts[row][:_LONGEST_TEXT])
        table.append([_plain(rows.names[row]), *map(_plain, classes), f"{probabilities[row, predicted]:.3f}", text])
    return table


def _settings_table(config: Mapping[str, Any]) -> list[list[str]]:
    rows = [[_plain(name), _plain(str(value))] for name, value in config.items() if value is not None]
    return [["setting", "value"], *rows]


def _plain(text: str) -> str:
    """Returns the text escaped for Markdown, on one line and in valid Unicode."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return _MARKDOWN.sub(r"\\\1", line)
