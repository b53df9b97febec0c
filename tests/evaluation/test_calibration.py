"""Calibration against cases with a known answer."""

import numpy as np
import pytest

from sentiment_tf.evaluation import calibration


def calibrated(rows):
    """Logits whose softmax is by construction the chance of the label."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(rows, 2))
    chances = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return logits, (generator.random(rows) < chances).astype(int)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_known_scale(scale):
    logits, labels = calibrated(20_000)
    assert calibration.fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.05)


def test_temperature_by_hand():
    # Log-odds of 4, right three times in four: the best log-odds are ln 3, so T = 4 / ln 3.
    logits = np.array([[0.0, 4.0]] * 4)
    temperature = calibration.fit_temperature(logits, [1, 1, 1, 0])
    assert temperature == pytest.approx(4 / np.log(3), rel=1e-3)


def test_rows_without_an_error_do_not_make_every_answer_certain():
    assert calibration.fit_temperature([[0.0, 1.0], [1.0, 0.0]], [1, 0]) == 1.0
    # Margins so wide that the likelihood is the same at many temperatures.
    assert calibration.fit_temperature([[0.0, 1e4], [1e4, 0.0]], [1, 0]) == 1.0


def test_an_optimum_below_the_lower_bound_is_none():
    logits = np.array([[0.0, 1e-3]] * 4)  # three times in four right: T = 0.001 / ln 3
    assert calibration.fit_temperature(logits, [1, 1, 1, 0]) == 1.0


def test_error_by_hand():
    probabilities = np.array([[0.1, 0.9], [0.08, 0.92], [0.35, 0.65], [0.38, 0.62]])
    # Of fifteen bins, 0.9 and 0.92 are in the one that ends at 14/15, the others in the one to 10/15.
    expected = (abs(0.9 + 0.92 - 1) + abs(0.65 + 0.62 - 2)) / 4
    labels = [1, 0, 1, 1]
    assert calibration.expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_reliability_counts_every_row_once():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.45, 0.55]])
    rows = calibration.reliability(probabilities, [0, 0, 0], bins=10)
    assert [(row["from"], row["to"], row["examples"]) for row in rows] == [
        (0.4, 0.5, 1),
        (0.5, 0.6, 1),
        (0.9, 1.0, 1),
    ]
    assert [row["accuracy"] for row in rows] == [1.0, 0.0, 1.0]
    assert rows[1]["confidence"] == pytest.approx(0.55)


def test_summary_shows_that_the_temperature_helped():
    logits, labels = calibrated(5_000)
    overconfident = 3 * logits
    temperature = calibration.fit_temperature(overconfident, labels)
    summary = calibration.summarize(overconfident, labels, temperature=temperature)
    assert summary["temperature"] == temperature
    assert summary["ece_after"] < 0.03 < summary["ece_before"]
    assert summary["loss_after"] < summary["loss_before"]


def test_summary_by_hand():
    summary = calibration.summarize([[0.0, np.log(9)]] * 2, [1, 0], temperature=2.0)
    # Probabilities of 9/10 and 1/10, divided by the temperature 3/4 and 1/4.
    assert summary["loss_before"] == pytest.approx(-np.log(0.9 * 0.1) / 2)
    assert summary["loss_after"] == pytest.approx(-np.log(0.75 * 0.25) / 2)
    assert [summary["ece_before"], summary["ece_after"]] == pytest.approx([0.4, 0.25])
