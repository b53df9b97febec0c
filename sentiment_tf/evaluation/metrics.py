"""What logits are worth: metrics with intervals, two models compared, accuracy by kind of text."""

from typing import Any

import numpy as np
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from sentiment_tf.evaluation import bootstrap, calibration

NAMES = ("loss", "accuracy", "macro_f1", "mcc", "roc_auc", "average_precision", "brier", "ece")


def evaluate(logits: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Measures logits against labels.

    Args:
      logits: float32[rows, classes]; the highest of a row is its prediction.
      labels: int[rows], from 0 to classes - 1.
      resamples: of the bootstrap behind the intervals; 0 leaves them out.
      seed: of the bootstrap; the same rows with the same seed give the same intervals.

    Returns:
      JSON-able dict: "examples"; "loss" (mean softmax cross-entropy, nats), "accuracy", "macro_f1", "mcc",
      "roc_auc", "average_precision", "brier", "ece"; "confusion", int[true class][predicted class];
      "intervals", {metric: [low, high]}, the 95 % percentile bootstrap.
      With two classes, class 1 is the positive one and Brier is the mean of (p1 - y)^2; with more, ROC-AUC
      and average precision are means of one class against the rest, and Brier sums over the classes.
      A class without rows is left out of those means; what is undefined for lack of a class is None.

    Raises:
      ValueError: no rows, shapes that do not fit, a label out of range, or logits that are not finite.
    """
    logits, labels = _checked(logits, labels)
    classes = logits.shape[1]
    log_probabilities = log_softmax(logits, axis=-1)
    probabilities = np.exp(log_probabilities)
    predictions = logits.argmax(axis=1)
    losses = -log_probabilities[np.arange(len(labels)), labels]
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1) / (2 if classes == 2 else 1)
    result = {
        "examples": len(labels),
        "loss": float(losses.mean()),
        "accuracy": float(sklearn_metrics.accuracy_score(labels, predictions)),
        "macro_f1": float(sklearn_metrics.f1_score(labels, predictions, average="macro", zero_division=0)),
        "mcc": _matthews(labels, predictions),
        "roc_auc": _one_against_rest(sklearn_metrics.roc_auc_score, labels, probabilities),
        "average_precision": _one_against_rest(sklearn_metrics.average_precision_score, labels, probabilities),
        "brier": float(squares.mean()),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "confusion": sklearn_metrics.confusion_matrix(labels, predictions, labels=range(classes)).tolist(),
    }
    found = (
        bootstrap.intervals(probabilities, losses, squares, labels, resamples=resamples, seed=seed) if resamples else {}
    )
    result["intervals"] = {name: edges for name, edges in found.items() if result[name] is not None}
    return result


def compare(
    logits_a: np.ndarray, logits_b: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Asks whether model B is better than model A on the same rows.

    McNemar's exact test looks only at the rows on which one is right and the other wrong: were both equally
    good, each such row would be a fair coin. Source: McNemar 1947; exact form, Dietterich 1998, "Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms".

    Args:
      logits_a, logits_b: float32[rows, classes], before and after, or two models.
      labels: int[rows].

    Returns:
      JSON-able dict: "examples"; "fixed" and "broken", numbers of rows that B gets right and A wrong, and the
      reverse; "fixed_rows" and "broken_rows", their indices; "p_value", two-sided; "accuracy_difference",
      B minus A, and its "interval", the 95 % paired bootstrap.

    Raises:
      ValueError: as for ``evaluate``.
    """
    logits_a, labels = _checked(logits_a, labels)
    logits_b, labels = _checked(logits_b, labels)
    right_a, right_b = (logits.argmax(axis=1) == labels for logits in (logits_a, logits_b))
    fixed, broken = np.flatnonzero(right_b & ~right_a), np.flatnonzero(right_a & ~right_b)
    discordant = len(fixed) + len(broken)
    p_value = binomtest(len(fixed), discordant, 0.5).pvalue if discordant else 1.0
    return {
        "examples": len(labels),
        "fixed": len(fixed),
        "broken": len(broken),
        "fixed_rows": fixed.tolist(),
        "broken_rows": broken.tolist(),
        "p_value": float(p_value),
        "accuracy_difference": (len(fixed) - len(broken)) / len(labels),
        "interval": bootstrap.difference(len(fixed), len(broken), len(labels), resamples=resamples, seed=seed),
    }


def by_length(logits: np.ndarray, labels: np.ndarray, lengths: np.ndarray, *, groups: int = 5) -> list[dict[str, Any]]:
    """Tabulates accuracy by length, in groups of about equally many rows.

    Args:
      lengths: int[rows], in tokens.
      groups: at most this many; equal lengths are never parted.

    Returns:
      list of {"from", "to", "examples", "accuracy", "interval"} from short to long, both ends included; the
      interval is Wilson's, 95 %.
    """
    logits, labels = _checked(logits, labels)
    lengths = np.asarray(lengths)
    edges = np.quantile(lengths, np.linspace(0, 1, groups + 1)[1:-1], method="inverted_cdf")
    group = np.searchsorted(np.unique(edges), lengths)
    correct = logits.argmax(axis=1) == labels
    return [
        {"from": int(lengths[rows].min()), "to": int(lengths[rows].max()), **_share(correct[rows])}
        for number in np.unique(group)
        if (rows := group == number).any()
    ]


def by_truncation(logits: np.ndarray, labels: np.ndarray, truncated: np.ndarray) -> list[dict[str, Any]]:
    """Tabulates accuracy for texts that were read whole and texts that were cut.

    Args:
      truncated: bool[rows].

    Returns:
      list of {"truncated", "examples", "accuracy", "interval"}, whole texts first; a kind without rows is
      left out.
    """
    logits, labels = _checked(logits, labels)
    truncated = np.asarray(truncated, bool)
    correct = logits.argmax(axis=1) == labels
    return [
        {"truncated": cut, **_share(correct[truncated == cut])} for cut in (False, True) if (truncated == cut).any()
    ]


def mistakes(logits: np.ndarray, labels: np.ndarray) -> list[int]:
    """Returns the rows that are wrong, the most confident first."""
    logits, labels = _checked(logits, labels)
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    confidence = np.exp(log_softmax(logits[wrong], axis=-1)).max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")].tolist()


def _checked(logits, labels):
    """Returns float64 logits and int64 labels that fit each other."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if logits.ndim != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}: want [rows, classes] and [rows]")
    if not len(labels):
        raise ValueError("no rows to measure")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: want 0 to {logits.shape[1] - 1}")
    if not np.isfinite(logits).all():
        rows = int((~np.isfinite(logits)).any(axis=1).sum())
        raise ValueError(f"logits of {rows} of {len(labels)} rows are not finite: the model has diverged")
    return logits, labels


def _matthews(labels, predictions):
    """Matthews' correlation; None where labels and predictions are all of one class."""
    if len(np.union1d(labels, predictions)) < 2:
        return None
    return float(sklearn_metrics.matthews_corrcoef(labels, predictions))


def _one_against_rest(metric, labels, probabilities):
    """Mean of a ranking metric over the classes that have both rows and others; None if there are none."""
    classes = probabilities.shape[1]
    present = set(np.unique(labels))
    if len(present) < 2:
        return None
    ranked = sorted(present) if classes > 2 else [1]
    return float(np.mean([metric(labels == number, probabilities[:, number]) for number in ranked]))


def _share(correct):
    """Counts bool[rows]: {"examples", "accuracy", "interval"}."""
    test = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return {
        "examples": len(correct),
        "accuracy": float(correct.mean()),
        "interval": [float(test.low), float(test.high)],
    }
