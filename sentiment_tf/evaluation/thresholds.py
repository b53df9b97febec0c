"""The decision threshold of two classes: from which probability on a text gets the second class.

Without one the larger probability decides. A threshold changes labels, never probabilities: those stay calibrated.

Imports NumPy alone: an engine that runs without TensorFlow decides with it, too.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_APART = 1e-5  # of probabilities: rows that are nearer are divided otherwise by the rounding of each engine
_TARGET = re.compile(r"(precision|recall):(\d*\.?\d+)")


def decide(probabilities: ArrayLike, threshold: float | None) -> np.ndarray:
    """Returns the class of each row, int64[rows].

    Args:
      probabilities: float[rows, classes], calibrated.
      threshold: Probability from which the second of two classes is taken; None takes the largest.
    """
    probabilities = np.asarray(probabilities)
    if threshold is None:
        return probabilities.argmax(axis=-1)
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def problems(threshold: str | None, threshold_for: str | None) -> list[str]:
    """Returns what is wrong with the values of ``--threshold`` and ``--threshold_for``."""
    found = []
    if threshold is not None and threshold != "auto" and not _is_share(threshold):
        found.append(f"--threshold={threshold}: pass auto, or a probability from 0 to 1")
    if threshold_for is not None and not _target(threshold_for):
        found.append(
            f"--threshold_for={threshold_for}: pass precision or recall and a share above 0 and at most 1, "
            "such as precision:0.9"
        )
    if threshold is not None and threshold_for is not None:
        found.append(f"--threshold_for={threshold_for}: --threshold={threshold} sets it already; pass one of them")
    return found


def choose(
    probabilities: ArrayLike, labels: ArrayLike, *, threshold: str | None, threshold_for: str | None
) -> dict[str, Any] | None:
    """Chooses the threshold that the settings ask for, on rows that were not trained on.

    Candidates lie halfway between neighbouring probabilities, because new texts fall between those of the rows.

    Args:
      probabilities: float[rows, 2], calibrated.
      labels: int[rows].
      threshold: "auto" for the best macro F1 (among equals the nearest to 0.5), or the threshold itself.
      threshold_for: Such as "precision:0.9": the best recall among thresholds with at least that precision of the
        second class; "recall:0.9" the other way round.

    Returns:
      JSON-serialisable dict: "value"; "rule", as it was asked for; "reached", whether the target was (if no threshold
      reaches it, the one that comes closest is taken); "precision", "recall" and "macro_f1" on these rows. None if
      nothing is asked for.
    """
    if threshold is None and threshold_for is None:
        return None
    scores, labels = np.asarray(probabilities, np.float64)[:, 1], np.asarray(labels)
    values = _candidates(scores) if threshold in (None, "auto") else np.array([float(threshold)])
    curves = _curves(scores, labels, values)
    reached = True
    if threshold_for is not None:
        target, least = _target(threshold_for)
        other = "recall" if target == "precision" else "precision"
        enough = curves[target] >= least
        reached = bool(enough.any())
        best = np.where(enough, curves[other], -1.0) if reached else curves[target]
    else:
        best = curves["macro_f1"]
    among = np.flatnonzero(best >= best.max() - 1e-12)
    chosen = among[np.abs(values[among] - 0.5).argmin()]
    measured = {name: float(curve[chosen]) for name, curve in curves.items()}
    return {"value": float(values[chosen]), "rule": threshold_for or threshold, "reached": reached, **measured}


def measure(probabilities: ArrayLike, labels: ArrayLike, threshold: float) -> dict[str, float]:
    """Returns "precision" and "recall" of the second class and "macro_f1" at a threshold."""
    scores = np.asarray(probabilities, np.float64)[:, 1]
    curves = _curves(scores, np.asarray(labels), np.array([threshold]))
    return {name: float(curve[0]) for name, curve in curves.items()}


def _candidates(scores: np.ndarray) -> np.ndarray:
    """Returns float64[thresholds], ascending: one for each way in which a threshold can divide the rows."""
    distinct = np.unique(scores)
    between = ((distinct[1:] + distinct[:-1]) / 2)[np.diff(distinct) > _APART]
    return np.concatenate([distinct[:1] / 2, between, (distinct[-1:] + 1) / 2])


def _curves(scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Returns precision and recall of the second class and macro F1 by threshold, each float64[thresholds].

    Precision is 0 where nothing is predicted: a threshold that finds nothing is no way to be precise. A class without
    rows and predictions does not count in macro F1, as in `metrics`.
    """
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    hits = len(positives) - np.searchsorted(positives, thresholds)  # true positives
    false_alarms = len(negatives) - np.searchsorted(negatives, thresholds)
    misses, rejected = len(positives) - hits, len(negatives) - false_alarms
    occurrences = np.stack([2 * hits + misses + false_alarms, 2 * rejected + misses + false_alarms])
    doubled = np.stack([2 * hits, 2 * rejected])
    f1 = _share(doubled, occurrences)
    return {
        "precision": _share(hits, hits + false_alarms),
        "recall": _share(hits, hits + misses),
        "macro_f1": f1.sum(axis=0) / np.maximum((occurrences > 0).sum(axis=0), 1),
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)


def _target(text: str) -> tuple[str, float] | None:
    """Reads "precision:0.9"; None if it is something else."""
    found = _TARGET.fullmatch(text)
    return (found[1], float(found[2])) if found and 0 < float(found[2]) <= 1 else None


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
