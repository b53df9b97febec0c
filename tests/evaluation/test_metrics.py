"""Metrics against numbers worked out by hand and against scikit-learn."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from sentiment_tf.evaluation import metrics

# Four texts, log-odds of class 1: ln 3 is a probability of 3/4, -ln 3 of 1/4.
THREE = math.log(3.0)
LOGITS = np.array([[0, THREE], [0, -THREE], [0, THREE], [0, -THREE]], np.float32)
LABELS = np.array([1, 0, 0, 0])


def synthetic(rows, classes, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def test_two_classes_by_hand():
    result = metrics.evaluate(LOGITS, LABELS, resamples=0)
    assert result["examples"] == 4
    assert result["accuracy"] == 0.75
    assert result["confusion"] == [[2, 1], [0, 1]]
    assert result["loss"] == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4, rel=1e-6)
    assert result["brier"] == pytest.approx((3 * 0.25**2 + 0.75**2) / 4, rel=1e-6)
    # Class 0: 2 hits, 2 predicted, 3 true. Class 1: 1 hit, 2 predicted, 1 true.
    assert result["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    assert result["mcc"] == pytest.approx((1 * 2 - 1 * 0) / math.sqrt(2 * 1 * 3 * 2))
    # The one positive beats two negatives and ties with the third.
    assert result["roc_auc"] == pytest.approx(2.5 / 3)
    assert result["average_precision"] == pytest.approx(1 / 2)
    # Every row is 75 % confident, and 75 % are right.
    assert result["ece"] == pytest.approx(0, abs=1e-7)
    assert result["intervals"] == {}


def test_three_classes_by_hand():
    logits = np.log(np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4]]))
    result = metrics.evaluate(logits, [0, 1, 2], resamples=0)
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert result["loss"] == pytest.approx(-math.log(0.6 * 0.5 * 0.4) / 3)
    squares = (0.16 + 0.09 + 0.01) + (0.04 + 0.25 + 0.09) + (0.25 + 0.01 + 0.36)
    assert result["brier"] == pytest.approx(squares / 3)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert result["roc_auc"] == 1.0
    assert result["average_precision"] == 1.0
    assert result["ece"] == pytest.approx((0.4 + abs(1.0 - 1) * 0 + abs(0.5 + 0.5 - 1)) / 3)


@pytest.mark.parametrize("classes", [2, 4])
def test_agrees_with_scikit_learn(classes):
    logits, labels = synthetic(300, classes)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    result = metrics.evaluate(logits, labels, resamples=0)
    assert result["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities))
    ranked = probabilities if classes > 2 else probabilities[:, 1]
    area = sklearn_metrics.roc_auc_score(labels, ranked, multi_class="ovr")
    assert result["roc_auc"] == pytest.approx(area)
    one_hot = np.eye(classes)[labels] if classes > 2 else labels
    assert result["average_precision"] == pytest.approx(
        sklearn_metrics.average_precision_score(one_hot, ranked, average="macro")
    )


def test_intervals_hold_the_estimate_and_narrow_with_more_rows():
    few = metrics.evaluate(*synthetic(100, 2), resamples=300)
    many = metrics.evaluate(*synthetic(3000, 2), resamples=300)
    assert set(many["intervals"]) == set(metrics.NAMES)
    for name in ("loss", "accuracy", "macro_f1", "mcc", "roc_auc", "average_precision", "brier"):
        low, high = many["intervals"][name]
        assert low < many[name] < high
        assert high - low < few["intervals"][name][1] - few["intervals"][name][0]
    # For accuracy the interval is known: about 1.96 standard errors to each side.
    error = math.sqrt(many["accuracy"] * (1 - many["accuracy"]) / 3000)
    low, high = many["intervals"]["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_same_seed_same_result_and_plain_json():
    logits, labels = synthetic(60, 3)
    first, second = (metrics.evaluate(logits, labels, resamples=50, seed=7) for _ in range(2))
    assert json.loads(json.dumps(first)) == second
    assert metrics.evaluate(logits, labels, resamples=50, seed=8)["intervals"] != first["intervals"]


def test_one_class_leaves_ranking_undefined():
    result = metrics.evaluate([[0, 2], [0, 1]], [1, 1], resamples=20)
    assert result["accuracy"] == 1.0
    assert result["mcc"] is None
    assert result["roc_auc"] is None
    assert result["average_precision"] is None
    assert set(result["intervals"]) == set(metrics.NAMES) - {"mcc", "roc_auc", "average_precision"}


def test_a_class_without_rows_is_left_out_of_the_means():
    logits, labels = synthetic(200, 3)
    kept = labels < 2
    result = metrics.evaluate(logits[kept], labels[kept], resamples=20)
    assert 0.5 < result["roc_auc"] <= 1
    assert result["intervals"]["roc_auc"][0] <= result["roc_auc"] <= result["intervals"]["roc_auc"][1]


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 2)), [], "no rows"),
        ([[0, 1]], [2], "labels from 2 to 2: want 0 to 1"),
        ([[0, 1]], [-1], "labels from -1"),
        ([[0, 1]], [0, 1], "want"),
        ([0, 1], [0, 1], "want"),
        ([[0, np.nan], [0, 1]], [0, 1], "1 of 2 rows are not finite"),
    ],
)
def test_refuses_what_cannot_be_measured(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(logits, labels)


def one_hot(predictions):
    return np.eye(2)[predictions]


def test_compare_by_hand():
    labels = np.zeros(10, int)
    before = one_hot([1, 1, 1, 1, 1, 0, 0, 0, 0, 1])  # right on rows 5 to 8
    after = one_hot([0, 0, 0, 0, 0, 1, 0, 0, 0, 1])  # right on all but rows 5 and 9
    result = metrics.compare(before, after, labels)
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
    result = metrics.compare(logits, logits, labels)
    assert result["p_value"] == 1.0
    assert result["interval"] == [0.0, 0.0]
    assert result["fixed_rows"] == result["broken_rows"] == []


def test_paired_interval_equals_resampling_the_rows():
    logits_a, labels = synthetic(400, 2)
    logits_b, _ = synthetic(400, 2, seed=1)
    logits_b = logits_b + 1.5 * np.eye(2)[labels]
    gain = (logits_b.argmax(1) == labels).astype(float) - (logits_a.argmax(1) == labels)
    drawn = np.random.default_rng(5).integers(400, size=(4000, 400))
    expected = np.percentile(gain[drawn].mean(axis=1), [2.5, 97.5])
    result = metrics.compare(logits_a, logits_b, labels, resamples=4000)
    assert result["interval"] == pytest.approx(expected, abs=0.005)


def test_by_length_counts_every_row_once():
    lengths = np.array([5, 5, 5, 5, 9, 9, 20, 30])
    labels = np.zeros(8, int)
    predictions = [0, 0, 0, 1, 0, 1, 1, 0]
    rows = metrics.by_length(one_hot(predictions), labels, lengths, groups=3)
    assert [(row["from"], row["to"], row["examples"]) for row in rows] == [(5, 5, 4), (9, 9, 2), (20, 30, 2)]
    assert [row["accuracy"] for row in rows] == [0.75, 0.5, 0.5]
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in rows)


def test_by_length_with_one_length():
    (row,) = metrics.by_length(one_hot([0, 1]), [0, 0], [7, 7])
    assert (row["from"], row["to"], row["examples"], row["accuracy"]) == (7, 7, 2, 0.5)


def test_by_truncation():
    rows = metrics.by_truncation(one_hot([0, 0, 1]), [0, 0, 0], [False, True, True])
    assert [(row["truncated"], row["examples"], row["accuracy"]) for row in rows] == [
        (False, 1, 1.0),
        (True, 2, 0.5),
    ]
    assert len(metrics.by_truncation(one_hot([0]), [0], [False])) == 1


def test_the_most_confident_mistakes_come_first():
    logits = np.array([[0, 1], [0, 9], [0, 5], [3, 0]], np.float32)
    assert metrics.mistakes(logits, np.array([0, 0, 0, 0])) == [1, 2, 0]
