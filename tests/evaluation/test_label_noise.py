import numpy as np
import pytest

from sentiment_tf.evaluation import label_noise


def test_hand_computed():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    of_one = np.array([0.1, 0.2, 0.3, 0.9, 0.9, 0.8, 0.7, 0.2])
    found = label_noise.find(labels, np.stack([1 - of_one, of_one], axis=1))
    # Mean probability of 0 over rows labelled 0: (0.9 + 0.8 + 0.7 + 0.1) / 4 = 0.625; of 1 over those labelled 1: 0.65.
    np.testing.assert_array_equal(found.suspicious, [False, False, False, True, False, False, False, True])
    np.testing.assert_array_equal(found.likely, 1 - labels)
    np.testing.assert_allclose(found.scores[[3, 7]], [0.9 - 0.1, 0.8 - 0.2])
    np.testing.assert_array_equal(found.order, [3, 7])
    assert found.share == pytest.approx(2 / 8)
    assert found.interval[0] < found.share < found.interval[1]


def test_rows_that_count_for_no_class_share_the_rates_of_their_class():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    of_one = np.array([0.0, 0.0, 0.45, 0.95, 1.0, 1.0, 0.55, 1.0])
    found = label_noise.find(labels, np.stack([1 - of_one, of_one], axis=1))
    # Thresholds 0.65 and 0.8875: rows 2 and 6 count for none, row 3 for the other class: a third of class 0, 0 of 1.
    np.testing.assert_array_equal(found.order, [3])
    assert found.share == pytest.approx((4 / 3 + 0) / 8)


def test_flipped_labels_are_found_and_counted():
    random = np.random.default_rng(0)
    true = random.integers(0, 3, 3_000)
    labels, flipped = true.copy(), random.random(3_000) < 0.1
    labels[flipped] = (true[flipped] + random.integers(1, 3, flipped.sum())) % 3
    logits = 4.0 * np.eye(3)[true] + random.normal(size=(3_000, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = label_noise.find(labels, probabilities)
    assert found.interval[0] < flipped.mean() < found.interval[1]
    assert flipped[found.order[: flipped.sum() // 2]].mean() > 0.95
    right = found.suspicious & flipped
    assert (found.likely[right] == true[right]).mean() > 0.95


def test_clean_labels_and_a_class_without_rows():
    labels = np.array([0, 1] * 20)
    probabilities = np.where(np.eye(3)[labels] > 0, 0.98, 0.01)
    found = label_noise.find(labels, probabilities)
    assert not found.suspicious.any()
    assert (found.share, found.interval) == (0.0, (0.0, 0.0))
