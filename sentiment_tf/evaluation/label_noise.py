"""Labels that look wrong, by confident learning: rows that a model, trained on other rows, firmly puts elsewhere.

Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (arXiv:1911.00068).
"""

import dataclasses

import numpy as np

RESAMPLES = 1_000


@dataclasses.dataclass(frozen=True)
class LabelNoise:
    """What is known about the labels of some rows.

    Attributes:
      likely: int64[rows], the likeliest class beside the given one.
      scores: float64[rows], the probability of that class minus that of the given one; the higher, the likelier it is
        that the given label is wrong.
      suspicious: bool[rows], whether the model is as sure of another class as it usually is of rows of that class.
      share: Estimated share of wrong labels.
      interval: Its 95 % bootstrap interval.
    """

    likely: np.ndarray
    scores: np.ndarray
    suspicious: np.ndarray
    share: float
    interval: tuple[float, float]

    @property
    def order(self) -> np.ndarray:
        """The suspicious rows, the most suspicious first, int64."""
        rows = np.flatnonzero(self.suspicious)
        return rows[np.argsort(-self.scores[rows], kind="stable")]


def find(labels: np.ndarray, probabilities: np.ndarray, *, seed: int = 0) -> LabelNoise:
    """Compares labels with the answers of models that were trained on other rows.

    A row counts for class k if its probability of k reaches the mean probability of k over the rows labelled k. Rows
    that count for another class than their own are suspicious, and their share of each class estimates its noise.

    Args:
      labels: int[rows], the given labels.
      probabilities: float[rows, classes], from models that did not see the row: `head_solver.out_of_fold`.
      seed: Random seed of the bootstrap.
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    given = probabilities[rows, labels]
    others = probabilities.astype(np.float64).copy()
    others[rows, labels] = -np.inf
    likely = others.argmax(axis=1)
    counts = np.bincount(labels, minlength=classes)
    means = np.bincount(labels, weights=given, minlength=classes) / np.maximum(counts, 1)
    thresholds = np.where(counts > 0, means, np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -np.inf)
    found = np.where(np.isfinite(confident.max(axis=1)), confident.argmax(axis=1), classes)  # `classes`: none
    joint = np.bincount(labels * (classes + 1) + found, minlength=classes * (classes + 1))
    random = np.random.default_rng(seed)
    resampled = random.multinomial(len(labels), joint / len(labels), RESAMPLES).reshape(RESAMPLES, classes, -1)
    low, high = np.percentile(_share_of_wrong(resampled), [2.5, 97.5])
    return LabelNoise(
        likely=likely,
        scores=others[rows, likely] - given,
        suspicious=(found != labels) & (found < classes),
        share=float(_share_of_wrong(joint.reshape(1, classes, -1))[0]),
        interval=(float(low), float(high)),
    )


def _share_of_wrong(joint: np.ndarray) -> np.ndarray:
    """Returns float64[n] for int[n, given, found + 1]; each class's rows that count for no class share its rates."""
    confident = joint[:, :, :-1]
    right = np.diagonal(confident, axis1=1, axis2=2)
    rates = 1 - right / np.maximum(confident.sum(axis=2), 1)
    rates = np.where(confident.sum(axis=2) > 0, rates, 0.0)
    return (rates * joint.sum(axis=2)).sum(axis=1) / joint.sum(axis=(1, 2))
