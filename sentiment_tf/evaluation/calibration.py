"""Calibration: how far confidences agree with accuracy, and the temperature that corrects them."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
_LOG_TEMPERATURE = (np.log(0.05), np.log(20.0))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Finds the temperature T for which ``softmax(logits / T)`` gives the labels the highest likelihood.

    Dividing by a temperature changes no prediction. The negative log-likelihood is convex in 1/T, so the bounded search
    over log T finds its only minimum. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.

    Args:
      logits: float32[rows, classes] on rows that were not trained on.
      labels: int[rows].

    Returns:
      float between 0.05 and 20; above 1 the model was overconfident. 1 where the rows do not bound the temperature from
      below: without a single error, every lower temperature has a higher likelihood, and the search would end at its
      lower bound, where every confidence is 100 %.
    """
    logits = np.asarray(logits, np.float64)
    chosen = np.asarray(labels, np.int64)[:, None]
    if (logits.argmax(axis=1) == chosen[:, 0]).all():
        return 1.0

    def negative_log_likelihood(log_temperature):
        scaled = log_softmax(logits / np.exp(log_temperature), axis=-1)
        return -np.take_along_axis(scaled, chosen, axis=1).mean()

    found = minimize_scalar(negative_log_likelihood, bounds=_LOG_TEMPERATURE, method="bounded")
    at_lower_bound = found.x < _LOG_TEMPERATURE[0] + 1e-3
    return 1.0 if at_lower_bound else float(np.exp(found.x))


def confidence(probabilities: ArrayLike, *, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Returns each row's highest probability, float64[rows], and its bin, int64[rows], of ``bins`` of equal width."""
    highest = np.asarray(probabilities, np.float64).max(axis=1)
    # Bins include their upper edge, so that a confidence of 1 is in the last bin.
    numbers = np.ceil(highest * bins).astype(np.int64) - 1
    return highest, np.clip(numbers, 0, bins - 1)


def gaps(probabilities: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> sparse.csr_array:
    """Returns each row's confidence minus its correctness, in the column of its bin: sparse float64[rows, bins].

    Args:
      probabilities: float[rows, classes], rows summing to 1.
      correct: bool[rows].
    """
    highest, numbers = confidence(probabilities, bins=bins)
    rows = np.arange(len(highest))
    return sparse.csr_array((highest - np.asarray(correct), (rows, numbers)), shape=(len(rows), bins))


def weighted_error(gaps: sparse.csr_array, counts: np.ndarray) -> np.ndarray:
    """Computes the expected calibration error of resamples.

    The mean distance between confidence and accuracy over bins of confidence, weighted by the bins' rows. Source:
    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with the predicted class's
    probability as confidence.

    Args:
      gaps: float64[rows, bins].
      counts: float64[resamples, rows], how often a resample holds each row.

    Returns:
      float64[resamples].
    """
    return np.abs(counts @ gaps).sum(axis=1) / counts.sum(axis=1)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Computes the expected calibration error in 15 bins, see ``weighted_error``.

    Args:
      probabilities: float[rows, classes], rows summing to 1.
      labels: int[rows].
    """
    correct = np.argmax(probabilities, axis=1) == labels
    return float(weighted_error(gaps(probabilities, correct), np.ones((1, len(correct))))[0])


def reliability(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = BINS) -> list[dict]:
    """Computes accuracy by confidence, without empty bins.

    Returns:
      list of {"from", "to", "examples", "confidence", "accuracy"} in order of confidence.
    """
    highest, numbers = confidence(probabilities, bins=bins)
    correct = np.argmax(probabilities, axis=1) == labels
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "examples": int(rows.sum()),
            "confidence": float(highest[rows].mean()),
            "accuracy": float(correct[rows].mean()),
        }
        for number in range(bins)
        if (rows := numbers == number).any()
    ]


def summarize(logits: ArrayLike, labels: ArrayLike, *, temperature: float) -> dict[str, float]:
    """Compares calibration before and after a temperature.

    Args:
      logits: float32[rows, classes], before the temperature.
      labels: int[rows].
      temperature: divisor of the logits.

    Returns:
      {"temperature", "ece_before", "ece_after", "loss_before", "loss_after"}: the expected calibration error, and the
      cross-entropy in nats.
    """
    found = {"temperature": float(temperature)}
    for when, scaled in (("before", np.asarray(logits, np.float64)), ("after", logits / np.float64(temperature))):
        log_probabilities = log_softmax(scaled, axis=-1)
        found[f"ece_{when}"] = expected_calibration_error(np.exp(log_probabilities), labels)
        found[f"loss_{when}"] = float(-log_probabilities[np.arange(len(scaled)), labels].mean())
    return found
