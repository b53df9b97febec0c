"""Resamples given as counts: each metric of the counts is the metric of the rows that they stand for."""

import tracemalloc

import numpy as np
import pytest

from sentiment_tf.evaluation import bootstrap, metrics
from sentiment_tf.evaluation.sample import Predictions, Sample


def predictions(rows, classes, *, ties=False):
    generator = np.random.default_rng(rows)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + np.eye(classes)[labels]
    if ties:
        logits = logits[generator.integers(9, size=rows)]  # nine different rows, many times each
    return Predictions(logits, labels)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_a_metric_of_counts_is_the_metric_of_the_resampled_rows(classes, ties):
    given = predictions(120, classes, ties=ties)
    drawn = np.random.default_rng(3).integers(120, size=(8, 120))
    counts = np.stack([np.bincount(rows, minlength=120) for rows in drawn]).astype(float)
    for metric in metrics.METRICS:
        found = metric.function(Sample(given, counts))
        expected = [
            metric.function(Sample.whole(Predictions(given.logits[rows], given.labels[rows])))[0] for rows in drawn
        ]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=metric.name)


def test_a_resample_of_one_class_leaves_ranking_undefined():
    given = predictions(20, 2)
    rows = np.flatnonzero(given.labels == 0)
    sample = Sample(given, np.bincount(np.resize(rows, 20), minlength=20)[None].astype(float))
    assert np.isnan(sample.roc_auc).all()
    assert np.isnan(sample.average_precision).all()
    assert sample.mean(given.correct) == given.correct[np.resize(rows, 20)].mean()


def mean_of_row_numbers(counts):
    return {"mean": counts @ np.arange(counts.shape[1]) / counts.shape[1]}


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    found = bootstrap.intervals(mean_of_row_numbers, 1000, resamples=4000, seed=1)
    low, high = found["mean"]
    error = np.arange(1000).std() / np.sqrt(1000)
    assert [low, high] == pytest.approx([499.5 - 1.96 * error, 499.5 + 1.96 * error], abs=0.1 * error)


def test_resamples_do_not_depend_on_how_many_are_computed_at_a_time(monkeypatch):
    def blocks(size):
        monkeypatch.setattr(bootstrap, "BLOCK", size)
        return list(bootstrap.resampled_counts(40, 7, 0))

    together, apart = blocks(10_000), blocks(120)
    assert [len(block) for block in together] == [7]
    assert [len(block) for block in apart] == [3, 3, 1]
    assert (np.concatenate(apart) == together[0]).all()
    assert (together[0].sum(axis=1) == 40).all()


def test_resamples_that_leave_a_statistic_undefined_do_not_count():
    def statistics(counts):
        return {"sometimes": np.where(counts[:, 0] > 0, 1.0, np.nan), "never": np.full(len(counts), np.nan)}

    assert bootstrap.intervals(statistics, 3, resamples=20, seed=0) == {}

    def first(counts):
        return {"first": np.where(counts[:, 0] > 0, counts[:, 0], np.nan)}

    assert bootstrap.intervals(first, 3, resamples=200, seed=0) == {"first": [1.0, 3.0]}


def test_share_of_all_rows_is_not_certain():
    # Wilson's bounds by hand, z = 1.96: 50 of 50 give 1 / (1 + z^2 / 50), 0 of 50 the mirror image.
    assert bootstrap.share(50, 50) == pytest.approx([1 / (1 + 1.959964**2 / 50), 1.0])
    assert bootstrap.share(0, 50) == pytest.approx([0.0, 1 - 1 / (1 + 1.959964**2 / 50)])


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (50, 0), (0, 50)])
def test_difference_of_rows_that_are_all_alike_is_not_certain(fixed, broken):
    low, high = bootstrap.difference(fixed, broken, 50, resamples=100, seed=0)
    assert low <= (fixed - broken) / 50 <= high
    assert high - low > 0.05
    # By hand for no differences: 1/52 each way, and half the width 1.96 * sqrt(2/52 / 52).
    if fixed == broken:
        assert [low, high] == pytest.approx([-1.959964 * np.sqrt(2) / 52, 1.959964 * np.sqrt(2) / 52])


def test_memory_does_not_grow_with_the_square_of_the_classes():
    tracemalloc.start()
    try:
        given = predictions(50, 1000)
        found = [metric.function(Sample(given, np.ones((2, 50)))) for metric in metrics.METRICS]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[0] == pytest.approx(given.correct.mean())
    assert peak < 100e6  # a one-hot confusion matrix alone would take 8 TB; np.eye(1000) here in the test 8 MB
