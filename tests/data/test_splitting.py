import numpy as np
import pytest

from sentiment_tf.data import splitting


def test_split_takes_the_same_share_of_each_class():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    train, validation = splitting.split_off(labels, np.arange(1000), fraction=0.1, seed=0)
    assert np.bincount(labels[validation]).tolist() == [50, 30, 20]
    assert np.bincount(labels[train]).tolist() == [450, 270, 180]
    assert sorted([*train, *validation]) == list(range(1000))


def test_split_keeps_groups_together():
    random = np.random.default_rng(1)
    labels, groups = random.integers(0, 2, 2000), random.integers(0, 700, 2000)
    train, validation = splitting.split_off(labels, groups, fraction=0.1, seed=0)
    assert not set(groups[train]) & set(groups[validation])
    assert 180 <= len(validation) <= 200


def test_group_larger_than_the_share_stays_in_train():
    groups = np.r_[np.zeros(60, int), np.arange(1, 41)]
    train, validation = splitting.split_off(np.zeros(100, int), groups, fraction=0.1, seed=0)
    assert len(validation) == 10
    assert 0 not in groups[validation]


def test_split_takes_one_row_of_a_small_class_but_never_all():
    labels = np.array([0, 0, 0, 1, 1, 2])
    train, validation = splitting.split_off(labels, np.arange(6), fraction=0.1, seed=0)
    assert sorted(labels[validation]) == [0, 1]
    assert sorted(labels[train]) == [0, 0, 1, 2]


def test_split_follows_the_seed():
    labels, groups = np.tile([0, 1], 100), np.arange(200)
    first = splitting.split_off(labels, groups, fraction=0.1, seed=5)[1]
    np.testing.assert_array_equal(first, splitting.split_off(labels, groups, fraction=0.1, seed=5)[1])
    assert not np.array_equal(first, splitting.split_off(labels, groups, fraction=0.1, seed=6)[1])


def test_everything_in_one_group_cannot_be_split():
    train, validation = splitting.split_off(np.array([0, 1] * 5), np.zeros(10, int), fraction=0.1, seed=0)
    assert len(train) == 10
    assert len(validation) == 0


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([50, 50], 10, [5, 5]),
        ([90, 10], 10, [9, 1]),
        ([98, 1, 1], 10, [8, 1, 1]),  # no class is left out
        ([1, 1, 98], 3, [1, 1, 1]),
        ([3, 3, 3], 9, [3, 3, 3]),
        ([60, 30, 10], 7, [4, 2, 1]),
        ([5, 0, 5], 4, [2, 0, 2]),
    ],
)
def test_stratified_draw(sizes, count, expected):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = splitting.stratified(labels, count, seed=0)
    assert np.bincount(labels[rows], minlength=len(sizes)).tolist() == expected
    assert len(set(rows.tolist())) == count
    assert rows.tolist() == sorted(rows.tolist())


def test_stratified_draw_follows_the_seed():
    labels = np.tile([0, 1], 100)
    first = splitting.stratified(labels, 20, seed=1)
    np.testing.assert_array_equal(first, splitting.stratified(labels, 20, seed=1))
    assert not np.array_equal(first, splitting.stratified(labels, 20, seed=2))


def test_folds_keep_groups_together_and_hold_their_share_of_each_class():
    labels = np.repeat([0, 1], [300, 100])
    groups = np.arange(400) // 2
    fold = splitting.folds(labels, groups, count=5, seed=0)
    np.testing.assert_array_equal(fold[::2], fold[1::2])
    for number in range(5):
        np.testing.assert_array_equal(np.bincount(labels[fold == number]), [60, 20])


def test_folds_follow_the_seed_and_ignore_too_few_groups():
    labels = np.repeat([0, 1], 20)
    first, again, other = (splitting.folds(labels, np.arange(40), count=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    alone = splitting.folds(labels, np.zeros(40, np.int64), count=5, seed=0)
    np.testing.assert_array_equal(np.bincount(alone), [8] * 5)
