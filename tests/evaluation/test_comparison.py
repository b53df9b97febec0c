"""Two models on the same rows, against numbers computed by hand and by resampling rows."""

import numpy as np
import pytest

from sentiment_tf.evaluation import comparison


def synthetic(rows, classes, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def one_hot(predictions):
    return np.eye(2)[predictions]


def test_compare_by_hand():
    labels = np.zeros(10, int)
    before = one_hot([1, 1, 1, 1, 1, 0, 0, 0, 0, 1])  # right on rows 5 to 8
    after = one_hot([0, 0, 0, 0, 0, 1, 0, 0, 0, 1])  # right on all but rows 5 and 9
    result = comparison.compare(before, after, labels)
    assert result["fixed_rows"] == [0, 1, 2, 3, 4]
    assert result["broken_rows"] == [5]
    assert (result["fixed"], result["broken"], result["examples"]) == (5, 1, 10)
    assert result["accuracy_difference"] == pytest.approx(0.4)
    # Six fair coins fall 5:1 or worse, to either side, in 2 * (6 + 1) of 64 cases.
    assert result["p_value"] == pytest.approx(14 / 64)
    low, high = result["interval"]
    assert low <= 0.4 <= high


def test_compare_with_itself_finds_nothing():
    logits, labels = synthetic(50, 2)
    result = comparison.compare(logits, logits, labels)
    assert result["p_value"] == 1.0
    assert result["interval"] == pytest.approx([-1.959964 * np.sqrt(2) / 52, 1.959964 * np.sqrt(2) / 52])
    assert result["fixed_rows"] == result["broken_rows"] == []


def test_paired_interval_equals_resampling_the_rows():
    logits_a, labels = synthetic(400, 2)
    logits_b, _ = synthetic(400, 2, seed=1)
    logits_b = logits_b + 1.5 * np.eye(2)[labels]
    gain = (logits_b.argmax(1) == labels).astype(float) - (logits_a.argmax(1) == labels)
    drawn = np.random.default_rng(5).integers(400, size=(4000, 400))
    expected = np.percentile(gain[drawn].mean(axis=1), [2.5, 97.5])
    result = comparison.compare(logits_a, logits_b, labels, resamples=4000)
    assert result["interval"] == pytest.approx(expected, abs=0.005)
