"""The metrics. Every table, the report, TensorBoard, ``compare`` and the model card read ``METRICS``.

To add a metric, add an entry to ``METRICS``.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sentiment_tf.evaluation import bootstrap, calibration
from sentiment_tf.evaluation.sample import Predictions, Sample


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: how it is computed and how it is shown.

    Attributes:
      name: key in run.json, and the end of its TensorBoard tag.
      label: name in tables.
      higher_is_better: direction of improvement.
      as_percent: whether it is shown in percent (76.4 %) or as a number (0.764).
      function: from a sample to float64[resamples]; NaN where a resample leaves the metric undefined. Its value
        on the rows themselves and its interval both come from this one function.
      interval: how its interval is computed: "bootstrap"; "wilson" for a share of the rows; None for no interval.
      hub_type: name of the metric on the Hugging Face hub; None leaves it out of the model card's metadata.
    """

    name: str
    label: str
    higher_is_better: bool
    as_percent: bool
    function: Callable[[Sample], np.ndarray]
    interval: str | None = "bootstrap"
    hub_type: str | None = None


def _macro_f1(sample: Sample) -> np.ndarray:
    """Mean F1 over the classes that occur as a label or as a prediction."""
    occurrences = sample.support + sample.predicted
    f1 = np.divide(2 * sample.true_positives, occurrences, out=np.zeros_like(occurrences), where=occurrences > 0)
    return f1.sum(axis=1) / (occurrences > 0).sum(axis=1)


def _matthews(sample: Sample) -> np.ndarray:
    """Matthews correlation; 0 where labels or predictions are all of one class, NaN where both are of the same one.

    Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    support, predicted = sample.support, sample.predicted
    covariance = sample.total * sample.true_positives.sum(axis=1) - (support * predicted).sum(axis=1)
    spread = (sample.total**2 - (support**2).sum(axis=1)) * (sample.total**2 - (predicted**2).sum(axis=1))
    correlation = np.divide(covariance, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)
    return np.where((support + predicted > 0).sum(axis=1) > 1, correlation, np.nan)


METRICS = (
    Metric(
        "accuracy",
        "Accuracy",
        higher_is_better=True,
        as_percent=True,
        function=lambda sample: sample.mean(sample.predictions.correct),
        interval="wilson",
        hub_type="accuracy",
    ),
    Metric("macro_f1", "Macro F1", higher_is_better=True, as_percent=True, function=_macro_f1, hub_type="f1"),
    Metric(
        "mcc",
        "Matthews correlation",
        higher_is_better=True,
        as_percent=False,
        function=_matthews,
        hub_type="matthews_correlation",
    ),
    Metric(
        "roc_auc",
        "ROC-AUC",
        higher_is_better=True,
        as_percent=False,
        function=lambda sample: sample.roc_auc,
        hub_type="roc_auc",
    ),
    Metric(
        "average_precision",
        "Average precision",
        higher_is_better=True,
        as_percent=False,
        function=lambda sample: sample.average_precision,
    ),
    Metric(
        "loss",
        "Loss (cross-entropy)",
        higher_is_better=False,
        as_percent=False,
        function=lambda sample: sample.mean(sample.predictions.losses),
    ),
    Metric(
        "brier",
        "Brier score",
        higher_is_better=False,
        as_percent=False,
        function=lambda sample: sample.mean(sample.predictions.squared_errors),
    ),
    Metric(
        "ece",
        "Calibration error (ECE)",
        higher_is_better=False,
        as_percent=False,
        function=lambda sample: calibration.weighted_error(sample.predictions.calibration_gaps, sample.counts),
    ),
)


def by_name(name: str) -> Metric:
    """Returns the metric of a name.

    Raises:
      KeyError: there is none; lists the names.
    """
    found = {metric.name: metric for metric in METRICS}
    if name not in found:
        raise KeyError(f"no metric {name!r}; METRICS has {', '.join(found)}")
    return found[name]


def evaluate(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Computes every metric.

    Args:
      logits: float32[rows, classes].
      labels: int[rows], from 0 to classes - 1.
      predicted: int[rows], the classes that a decision threshold gives; None: each row's highest logit.
      probabilities: as for ``Predictions``.
      resamples: number of bootstrap resamples behind the intervals; 0 leaves the intervals out.
      seed: Random seed of the bootstrap; the same rows with the same seed give the same intervals.

    Returns:
      JSON-serialisable dict: "examples", number of rows; each metric's name with its value, None where it is
      undefined because a class is missing; "confusion", int[true class][predicted class]; "intervals",
      {metric: [low, high]}, 95 %, see ``bootstrap``; a metric that is the same in every resample has none.
      With two classes, class 1 is the positive class. With more, ROC-AUC and average precision are means of one
      class against the rest over the classes that have rows.

    Raises:
      ValueError: as for ``Predictions``.
    """
    predictions = Predictions(logits, labels, predicted, probabilities=probabilities)
    found = {name: float(value[0]) for name, value in _measure(METRICS, Sample.whole(predictions)).items()}
    values = {name: value if np.isfinite(value) else None for name, value in found.items()}
    return {
        "examples": len(predictions),
        **values,
        "confusion": confusion_matrix(predictions),
        "intervals": _intervals(predictions, values, resamples=resamples, seed=seed) if resamples else {},
    }


def _intervals(
    predictions: Predictions, values: Mapping[str, float | None], *, resamples: int, seed: int
) -> dict[str, list[float]]:
    """Returns {metric: [low, high]} of the metrics that are defined."""
    rows, defined = len(predictions), [metric for metric in METRICS if values[metric.name] is not None]
    resampled = [metric for metric in defined if metric.interval == "bootstrap"]
    shares = {
        metric.name: bootstrap.share(round(values[metric.name] * rows), rows)
        for metric in defined
        if metric.interval == "wilson"
    }
    return shares | bootstrap.intervals(
        lambda counts: _measure(resampled, Sample(predictions, counts)), rows, resamples=resamples, seed=seed
    )


def confusion_matrix(predictions: Predictions) -> list[list[int]]:
    """Returns int[true class][predicted class], numbers of rows."""
    classes = predictions.classes
    cells = np.bincount(predictions.labels * classes + predictions.predicted, minlength=classes**2)
    return cells.reshape(classes, classes).tolist()


def _measure(metrics: Iterable[Metric], sample: Sample) -> dict[str, np.ndarray]:
    """Returns {name: float64[resamples]}."""
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: undefined
        return {metric.name: metric.function(sample) for metric in metrics}
