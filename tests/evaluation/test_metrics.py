"""Metrics against numbers worked out by hand and against scikit-learn."""

import json
import math

import numpy as np
import pytest
from scipy.special import softmax
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
@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn(classes, ties):
    logits, labels = synthetic(300, classes)
    if ties:
        logits = logits[np.arange(300) % 9]
    probabilities = softmax(logits.astype(np.float64), axis=1)
    predicted = logits.argmax(axis=1)
    result = metrics.evaluate(logits, labels, resamples=0)
    # Ratios of whole numbers are equal to the last digit.
    assert result["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert result["macro_f1"] == sklearn_metrics.f1_score(labels, predicted, average="macro")
    assert result["mcc"] == sklearn_metrics.matthews_corrcoef(labels, predicted)
    assert result["confusion"] == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    assert result["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), rel=1e-12)
    ranked = probabilities if classes > 2 else probabilities[:, 1]
    area = sklearn_metrics.roc_auc_score(labels, ranked, multi_class="ovr")
    assert result["roc_auc"] == pytest.approx(area, rel=1e-12)
    one_hot = np.eye(classes)[labels] if classes > 2 else labels
    precision = sklearn_metrics.average_precision_score(one_hot, ranked, average="macro")
    assert result["average_precision"] == pytest.approx(precision, rel=1e-12)
    if classes == 2:
        assert result["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(labels, ranked), rel=1e-12)


def test_rankings_are_those_of_the_exported_probabilities():
    """float32 probabilities have ties, which a softmax of their logarithms would break."""
    generator = np.random.default_rng(1)
    labels = generator.integers(3, size=300)
    logits = 12 * generator.normal(size=(300, 3)) + 12 * np.eye(3)[labels]
    exported = softmax(logits, axis=1).astype(np.float32)
    assert len(np.unique(exported)) < exported.size
    result = metrics.evaluate(np.log(np.maximum(exported, 1e-30)), labels, probabilities=exported, resamples=0)
    area = sklearn_metrics.roc_auc_score(labels, exported, multi_class="ovr")
    precision = sklearn_metrics.average_precision_score(np.eye(3)[labels], exported, average="macro")
    assert result["roc_auc"] == pytest.approx(area, abs=1e-9)
    assert result["average_precision"] == pytest.approx(precision, abs=1e-9)


def test_no_interval_claims_certainty():
    labels = np.arange(50) % 2
    result = metrics.evaluate(np.eye(2)[labels], labels, resamples=100)
    assert result["accuracy"] == result["macro_f1"] == result["mcc"] == 1.0
    assert result["intervals"]["accuracy"] == pytest.approx([0.9287, 1.0], abs=1e-4)
    assert set(result["intervals"]) == {"accuracy"}  # the others are the same in every resample
    for low, high in metrics.evaluate(*synthetic(60, 2), resamples=100)["intervals"].values():
        assert low < high


def test_a_class_that_is_always_predicted_has_no_correlation_with_the_labels():
    logits, labels = [[0, 1]] * 3, [0, 1, 1]
    result = metrics.evaluate(logits, labels, resamples=0)
    assert result["mcc"] == sklearn_metrics.matthews_corrcoef(labels, [1, 1, 1]) == 0
    assert result["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, [1, 1, 1], average="macro"))


def test_intervals_hold_the_estimate_and_narrow_with_more_rows():
    few = metrics.evaluate(*synthetic(100, 2), resamples=300)
    many = metrics.evaluate(*synthetic(3000, 2), resamples=300)
    assert set(many["intervals"]) == {metric.name for metric in metrics.METRICS}
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
    assert set(result["intervals"]) == {"accuracy", "loss", "brier", "ece"}


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
        ([[0, 1]], [2], "labels are 2 to 2; expected 0 to 1"),
        ([[0, 1]], [-1], "labels are -1"),
        ([[0, 1]], [0, 1], "expected"),
        ([0, 1], [0, 1], "expected"),
        ([[0, np.nan], [0, 1]], [0, 1], "1 of 2 rows are not finite"),
    ],
)
def test_refuses_what_cannot_be_measured(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(logits, labels)


def test_a_name_that_is_not_in_the_list_is_answered_with_the_list():
    assert metrics.by_name("ece").label == "Calibration error (ECE)"
    with pytest.raises(KeyError, match="no metric 'f1'; METRICS has accuracy, macro_f1, mcc"):
        metrics.by_name("f1")
