"""Two models on the same rows: is the difference in accuracy chance?"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from sentiment_tf.evaluation import bootstrap
from sentiment_tf.evaluation.sample import Predictions


def compare(
    logits_a: ArrayLike,
    logits_b: ArrayLike,
    labels: ArrayLike,
    *,
    predicted: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Tests whether model B is better than model A on the same rows.

    McNemar's exact test looks only at the rows that one model classifies correctly and the other does not. If both
    models were equally good, each such row would be a fair coin. Source: McNemar 1947; exact form, Dietterich 1998,
    "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms".

    Args:
      logits_a, logits_b: float32[rows, classes], before and after training, or of two models.
      labels: int[rows].
      predicted: for each model int[rows], the classes that its decision threshold gives; None: the highest logits.
      resamples: number of bootstrap resamples behind the interval.
      seed: Random seed of the bootstrap.

    Returns:
      JSON-serialisable dict: "examples", number of rows; "fixed", number of rows that B classifies correctly and A
      does not, and "broken", the reverse; "fixed_rows" and "broken_rows", their indices; "p_value", two-sided;
      "accuracy_difference", B minus A, and its "interval", 95 % paired bootstrap.

    Raises:
      ValueError: as for ``Predictions``.
    """
    correct_a, correct_b = (
        Predictions(logits, labels, classes).correct
        for logits, classes in zip((logits_a, logits_b), predicted, strict=True)
    )
    fixed, broken = np.flatnonzero(correct_b & ~correct_a), np.flatnonzero(correct_a & ~correct_b)
    rows, discordant = len(correct_a), len(fixed) + len(broken)
    p_value = binomtest(len(fixed), discordant, 0.5).pvalue if discordant else 1.0
    return {
        "examples": rows,
        "fixed": len(fixed),
        "broken": len(broken),
        "fixed_rows": fixed.tolist(),
        "broken_rows": broken.tolist(),
        "p_value": float(p_value),
        "accuracy_difference": (len(fixed) - len(broken)) / rows,
        "interval": bootstrap.difference(len(fixed), len(broken), rows, resamples=resamples, seed=seed),
    }
