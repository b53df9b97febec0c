"""Decision thresholds, by hand."""

import numpy as np
import pytest

from sentiment_tf.evaluation import thresholds

# In order of probability: the labels 0 1 0 1 1.
SCORES = np.array([0.1, 0.3, 0.4, 0.6, 0.9])
LABELS = np.array([0, 1, 0, 1, 1])
PROBABILITIES = np.stack([1 - SCORES, SCORES], axis=1)


def choose(threshold=None, threshold_for=None, labels=LABELS):
    return thresholds.choose(PROBABILITIES, labels, threshold=threshold, threshold_for=threshold_for)


def test_without_a_threshold_the_larger_probability_decides():
    assert thresholds.decide([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], None).tolist() == [0, 1, 0]
    assert thresholds.decide([[0.2, 0.3, 0.5]], None).tolist() == [2]
    assert choose() is None


def test_a_threshold_takes_the_second_class_from_its_value_on():
    assert thresholds.decide(PROBABILITIES, 0.4).tolist() == [0, 0, 1, 1, 1]
    assert thresholds.decide(np.zeros([0, 2]), 0.4).tolist() == []


def test_auto_has_the_best_macro_f1():
    chosen = choose("auto")
    # Between 0.4 and 0.6 the rows 0.6 and 0.9 are found: F1 of class 1 is 4/5, of class 0 2*2 / (2*2 + 1) = 4/5.
    assert chosen["value"] == pytest.approx(0.5)
    assert chosen["macro_f1"] == pytest.approx(0.8)
    assert (chosen["precision"], chosen["recall"]) == (1.0, pytest.approx(2 / 3))
    assert (chosen["rule"], chosen["reached"]) == ("auto", True)


def test_auto_finds_the_best_of_every_possible_threshold():
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=60)
    scores = np.clip(generator.normal(loc=0.2 + 0.3 * labels, scale=0.2), 0, 1).round(2)  # with ties
    probabilities = np.stack([1 - scores, scores], axis=1)
    best = thresholds.choose(probabilities, labels, threshold="auto", threshold_for=None)["macro_f1"]
    every = [thresholds.measure(probabilities, labels, value)["macro_f1"] for value in np.linspace(0, 1, 1001)]
    assert best == pytest.approx(max(every))


def test_among_equally_good_thresholds_the_nearest_to_one_half_is_taken():
    scores = np.array([0.2, 0.7])
    chosen = thresholds.choose(np.stack([1 - scores, scores], 1), [0, 1], threshold="auto", threshold_for=None)
    assert chosen["value"] == pytest.approx(0.45)
    assert choose("auto", labels=np.ones(5, int))["macro_f1"] == 1.0


def test_rows_that_differ_by_rounding_stay_together():
    scores = np.array([0.2, 0.6, 0.6 + 1e-7, 0.9])
    chosen = thresholds.choose(np.stack([1 - scores, scores], 1), [0, 0, 1, 1], threshold="auto", threshold_for=None)
    assert chosen["value"] in (pytest.approx(0.4), pytest.approx(0.75))


@pytest.mark.parametrize(
    ("target", "value", "precision", "recall"),
    [
        ("precision:0.75", 0.2, 3 / 4, 1.0),
        ("precision:0.9", 0.5, 1.0, 2 / 3),
        ("recall:0.6", 0.5, 1.0, 2 / 3),
        ("recall:1", 0.2, 3 / 4, 1.0),
    ],
)
def test_a_target_is_kept_and_the_rest_is_as_good_as_it_can_be(target, value, precision, recall):
    chosen = choose(threshold_for=target)
    assert chosen["value"] == pytest.approx(value)
    assert (chosen["precision"], chosen["recall"]) == (pytest.approx(precision), pytest.approx(recall))
    assert (chosen["rule"], chosen["reached"]) == (target, True)


def test_a_target_out_of_reach_gives_the_nearest_and_says_so():
    chosen = choose(threshold_for="precision:0.9", labels=np.array([1, 1, 0, 1, 0]))
    # From 0.05 on: 3 of 5. From 0.2: 2 of 4. From 0.35: 1 of 3. From 0.5: 1 of 2. From 0.75: 0 of 1.
    assert not chosen["reached"]
    assert chosen["precision"] == pytest.approx(3 / 5)


def test_a_given_threshold_is_taken_as_it_is():
    chosen = choose("0.35")
    assert (chosen["value"], chosen["rule"]) == (0.35, "0.35")
    assert (chosen["precision"], chosen["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("threshold", "threshold_for", "problem"),
    [
        ("best", None, "--threshold=best: pass auto, or a probability from 0 to 1"),
        ("1.5", None, "--threshold=1.5: pass auto"),
        ("nan", None, "--threshold=nan: pass auto"),
        (None, "f1:0.9", "--threshold_for=f1:0.9: pass precision or recall"),
        (None, "precision:0", "--threshold_for=precision:0: pass"),
        (None, "precision:90", "--threshold_for=precision:90: pass"),
        ("auto", "recall:0.9", "--threshold=auto sets it already"),
    ],
)
def test_problems(threshold, threshold_for, problem):
    (found,) = thresholds.problems(threshold, threshold_for)
    assert problem in found


@pytest.mark.parametrize("threshold", [None, "auto", "0", "0.25", "1"])
def test_no_problems(threshold):
    assert thresholds.problems(threshold, None) == []
    assert thresholds.problems(None, "precision:.95") == []
