"""Calibration: how far confidence can be believed, and the one number that mends it."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
_LOG_TEMPERATURE = (np.log(0.05), np.log(20.0))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the temperature T that makes ``softmax(logits / T)`` most likely to have produced the labels.

    Dividing by a temperature moves no row's prediction. The negative log-likelihood is convex in 1/T, so the
    bounded search over log T finds its one minimum. Source: Guo et al. 2017, "On Calibration of Modern
    Neural Networks", section 4.2.

    Args:
      logits: float32[rows, classes] on rows that were not trained on.
      labels: int[rows].

    Returns:
      float between 0.05 and 20; above 1 the model was overconfident. It is 1 where the rows do not say how
      sure the model may be: without a single error every lower temperature is likelier still, and the search
      would end at its lower bound, which turns every answer into one of 100 %.
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


def confidence(probabilities: np.ndarray, *, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Returns each row's highest probability, float64[rows], and its bin of ``bins`` equally wide ones."""
    highest = np.asarray(probabilities, np.float64).max(axis=1)
    # Bins are closed at their upper edge, so that a confidence of 1 is in the last one.
    numbers = np.ceil(highest * bins).astype(np.int64) - 1
    return highest, np.clip(numbers, 0, bins - 1)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy, over bins of confidence, weighted by their rows.

    Source: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with the
    predicted class's probability as confidence.

    Args:
      probabilities: float[rows, classes], rows summing to 1.
      labels: int[rows].
    """
    highest, numbers = confidence(probabilities, bins=bins)
    correct = np.argmax(probabilities, axis=1) == labels
    gaps = np.bincount(numbers, weights=highest - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(highest))


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> list[dict]:
    """Tabulates accuracy against confidence; empty bins are left out.

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


def summarize(logits: np.ndarray, labels: np.ndarray, *, temperature: float) -> dict[str, float]:
    """Compares calibration before and after a temperature: {"temperature", "ece_before", "ece_after"}."""
    logits = np.asarray(logits, np.float64)
    before, after = softmax(logits, axis=-1), softmax(logits / temperature, axis=-1)
    return {
        "temperature": float(temperature),
        "ece_before": expected_calibration_error(before, labels),
        "ece_after": expected_calibration_error(after, labels),
    }
