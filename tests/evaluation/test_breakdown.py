"""Accuracy by kind of text, and the mistakes."""

import numpy as np

from sentiment_tf.evaluation import breakdown


def one_hot(predictions):
    return np.eye(2)[predictions]


def test_by_length_counts_every_row_once():
    lengths = np.array([5, 5, 5, 5, 9, 9, 20, 30])
    labels = np.zeros(8, int)
    predictions = [0, 0, 0, 1, 0, 1, 1, 0]
    rows = breakdown.by_length(one_hot(predictions), labels, lengths, groups=3)
    assert [(row["from"], row["to"], row["examples"]) for row in rows] == [(5, 5, 4), (9, 9, 2), (20, 30, 2)]
    assert [row["accuracy"] for row in rows] == [0.75, 0.5, 0.5]
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in rows)


def test_by_length_with_one_length():
    (row,) = breakdown.by_length(one_hot([0, 1]), [0, 0], [7, 7])
    assert (row["from"], row["to"], row["examples"], row["accuracy"]) == (7, 7, 2, 0.5)


def test_by_truncation():
    rows = breakdown.by_truncation(one_hot([0, 0, 1]), [0, 0, 0], [False, True, True])
    assert [(row["truncated"], row["examples"], row["accuracy"]) for row in rows] == [
        (False, 1, 1.0),
        (True, 2, 0.5),
    ]
    assert len(breakdown.by_truncation(one_hot([0]), [0], [False])) == 1


def test_the_most_confident_mistakes_come_first():
    logits = np.array([[0, 1], [0, 9], [0, 5], [3, 0]], np.float32)
    assert breakdown.mistakes(logits, np.array([0, 0, 0, 0])) == [1, 2, 0]


def test_confused_pairs_by_hand():
    assert breakdown.confused_pairs([[5, 1, 0], [4, 2, 2], [0, 3, 0]], most=3) == [
        {"true": 1, "predicted": 0, "examples": 4, "share": 0.5},
        {"true": 2, "predicted": 1, "examples": 3, "share": 1.0},
        {"true": 1, "predicted": 2, "examples": 2, "share": 0.25},
    ]
    assert breakdown.confused_pairs([[2, 0], [0, 3]]) == []


def test_accuracy_without_some_rows():
    logits, labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]]), np.array([0, 0, 0, 1])
    assert breakdown.accuracy_without([], logits, labels) == 0.75
    assert breakdown.accuracy_without([1], logits, labels) == 1.0
    assert breakdown.accuracy_without([0, 3], logits, labels) == 0.5
    assert breakdown.accuracy_without([0, 1, 2, 3], logits, labels) is None
