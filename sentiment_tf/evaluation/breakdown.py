"""Where a model is right and wrong: accuracy by length and truncation, accuracy without some rows, mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sentiment_tf.evaluation import bootstrap
from sentiment_tf.evaluation.sample import Predictions

Classes = ArrayLike | None  # int[rows], the classes that a decision threshold gives; None: each row's highest logit


def by_length(
    logits: ArrayLike, labels: ArrayLike, lengths: ArrayLike, *, predicted: Classes = None, groups: int = 5
) -> list[dict[str, Any]]:
    """Computes accuracy by length, in groups of about equally many rows.

    Args:
      logits: float32[rows, classes].
      labels: int[rows].
      lengths: int[rows], in tokens.
      predicted: see `Classes`.
      groups: most groups; rows of equal length are always in the same group.

    Returns:
      list of {"from", "to", "examples", "accuracy", "interval"} in order of length; "from" and "to" are the shortest
      and the longest length of the group, the interval is Wilson's, 95 %.
    """
    correct, lengths = Predictions(logits, labels, predicted).correct, np.asarray(lengths)
    edges = np.quantile(lengths, np.linspace(0, 1, groups + 1)[1:-1], method="inverted_cdf")
    group = np.searchsorted(np.unique(edges), lengths)
    return [
        {"from": int(lengths[rows].min()), "to": int(lengths[rows].max()), **_share(correct[rows])}
        for number in np.unique(group)
        if (rows := group == number).any()
    ]


def by_truncation(
    logits: ArrayLike, labels: ArrayLike, truncated: ArrayLike, *, predicted: Classes = None
) -> list[dict[str, Any]]:
    """Computes accuracy for complete texts and for truncated texts.

    Args:
      logits: float32[rows, classes].
      labels: int[rows].
      truncated: bool[rows].
      predicted: see `Classes`.

    Returns:
      list of {"truncated", "examples", "accuracy", "interval"}, complete texts first, without a kind that has no
      rows.
    """
    correct, truncated = Predictions(logits, labels, predicted).correct, np.asarray(truncated, bool)
    return [{"truncated": kind, **_share(correct[rows])} for kind in (False, True) if (rows := truncated == kind).any()]


def accuracy_without(
    rows: Sequence[int], logits: ArrayLike, labels: ArrayLike, *, predicted: Classes = None
) -> float | None:
    """Returns the accuracy on all rows but some; None where no row remains."""
    correct = np.delete(Predictions(logits, labels, predicted).correct, rows)
    return float(correct.mean()) if len(correct) else None


def mistakes(logits: ArrayLike, labels: ArrayLike, *, predicted: Classes = None) -> list[int]:
    """Returns the misclassified rows, the most confident first."""
    predictions = Predictions(logits, labels, predicted)
    wrong = np.flatnonzero(~predictions.correct)
    confidence = predictions.probabilities[wrong, predictions.predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")].tolist()


def confused_pairs(confusion: Sequence[Sequence[int]], *, most: int = 12) -> list[dict[str, Any]]:
    """Returns the pairs of classes that are most often taken for each other.

    Args:
      confusion: int[true class][predicted class].
      most: pairs at most.

    Returns:
      list of {"true", "predicted", "examples", "share"}, the most frequent first; class numbers, number of rows, and
      their share of the rows of the true class.
    """
    counts = np.array(confusion)
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        {
            "true": int(true),
            "predicted": int(predicted),
            "examples": int(wrong[true, predicted]),
            "share": float(wrong[true, predicted] / counts[true].sum()),
        }
        for true, predicted in pairs
        if wrong[true, predicted]
    ]


def _share(correct: np.ndarray) -> dict[str, Any]:
    """Returns {"examples", "accuracy", "interval"} of bool[rows]."""
    return {
        "examples": len(correct),
        "accuracy": float(correct.mean()),
        "interval": bootstrap.share(int(correct.sum()), len(correct)),
    }
