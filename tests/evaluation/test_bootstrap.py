"""Weighted metrics are the metrics of the rows that the weights stand for."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import log_softmax

from sentiment_tf.evaluation import bootstrap, metrics


def prepared(rows, classes, *, ties):
    generator = np.random.default_rng(rows)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + np.eye(classes)[labels]
    if ties:
        logits = logits[generator.integers(9, size=rows)]  # nine different rows, many times each
    log_probabilities = log_softmax(logits, axis=-1)
    probabilities = np.exp(log_probabilities)
    losses = -log_probabilities[np.arange(rows), labels]
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(axis=1) / (2 if classes == 2 else 1)
    return logits, labels, bootstrap.weighted_metrics(probabilities, losses, squares, labels)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_counts_give_what_scikit_learn_gives_for_the_resampled_rows(classes, ties):
    logits, labels, weighted = prepared(120, classes, ties=ties)
    drawn = np.random.default_rng(3).integers(120, size=(8, 120))
    counts = np.stack([np.bincount(rows, minlength=120) for rows in drawn]).astype(float)
    found = weighted(counts)
    for number, rows in enumerate(drawn):
        expected = metrics.evaluate(logits[rows], labels[rows], resamples=0)
        for name in metrics.NAMES:
            assert found[name][number] == pytest.approx(expected[name], abs=1e-12), name


def test_a_resample_of_one_class_is_undefined_not_wrong():
    _, labels, weighted = prepared(20, 2, ties=False)
    counts = np.where(labels == 0, 20 / (labels == 0).sum(), 0.0)[None]
    found = weighted(counts)
    assert np.isnan(found["roc_auc"]).all()
    assert np.isnan(found["average_precision"]).all()
    assert np.isfinite(found["accuracy"]).all()


def test_blocks_do_not_change_the_number_of_resamples():
    counts = list(bootstrap._resampled_counts(bootstrap._BLOCK // 3, 7, 0))
    assert [len(block) for block in counts] == [3, 3, 1]
    assert all((block.sum(axis=1) == bootstrap._BLOCK // 3).all() for block in counts)


def test_memory_does_not_grow_with_the_square_of_the_classes():
    tracemalloc.start()
    try:
        logits, labels, weighted = prepared(50, 1000, ties=False)
        found = weighted(np.ones((2, 50)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert peak < 100e6  # a confusion matrix' one-hots alone would take 8 TB; np.eye(1000) here in the test 8 MB
