import numpy as np
import pytest

from sentiment_tf.data import batching
from sentiment_tf.data.batching import PAD_ROW


def lengths_like_reviews(rows: int) -> np.ndarray:
    return np.clip(np.random.default_rng(7).normal(27, 11, rows), 3, 70).astype(np.int32)


def test_training_plan_holds_every_row_exactly_once_and_only_full_batches():
    plan = batching.training_plan(lengths_like_reviews(1_001), batch_size=32, seed=0, epoch=0)
    assert plan.shape == (32, 32)
    rows = plan[plan != PAD_ROW]
    assert sorted(rows) == list(range(1_001))
    assert (plan == PAD_ROW).sum() == 32 * 32 - 1_001


def test_training_plan_is_a_function_of_seed_and_epoch():
    lengths = lengths_like_reviews(300)
    plan = batching.training_plan(lengths, batch_size=8, seed=3, epoch=2)
    np.testing.assert_array_equal(plan, batching.training_plan(lengths, batch_size=8, seed=3, epoch=2))
    assert (plan != batching.training_plan(lengths, batch_size=8, seed=3, epoch=3)).any()
    assert (plan != batching.training_plan(lengths, batch_size=8, seed=4, epoch=2)).any()


def test_training_batches_waste_less_than_15_percent_on_review_lengths():
    lengths = lengths_like_reviews(8_000)
    plan = batching.training_plan(lengths, batch_size=32, seed=0, epoch=0)
    assert batching.padding_share(lengths, plan, 128) < 0.15


def test_training_plan_is_not_in_order_of_length():
    lengths = lengths_like_reviews(8_000)
    plan = batching.training_plan(lengths, batch_size=32, seed=0, epoch=0)
    means = lengths[plan[:-1]].mean(axis=1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3


def test_evaluation_plan_sorts_by_length():
    plan = batching.evaluation_plan(np.array([5, 2, 9, 2, 7]), batch_size=2)
    np.testing.assert_array_equal(plan, [[1, 3], [0, 4], [2, PAD_ROW]])


def test_padding_share_by_hand():
    # Widths are the longest, rounded up to 4: 2 × 4 places for lengths 2 and 4, 1 × 8 for 5; 11 of 16 are tokens.
    share = batching.padding_share(np.array([2, 4, 5]), np.array([[0, 1], [2, PAD_ROW]]), 128)
    assert share == pytest.approx(1 - 11 / 16)


@pytest.mark.parametrize(("lengths", "most", "width"), [([1], 128, 4), ([5, 8], 128, 8), ([9], 10, 10), ([2], 3, 3)])
def test_width_is_rounded_up_but_not_beyond_the_models_limit(lengths, most, width):
    assert batching.padded_width(np.array(lengths), most) == width


def test_pad_by_hand():
    values, offsets = np.array([1, 2, 3, 4, 5, 6, 7]), np.array([0, 2, 7])
    padded, mask = batching.pad(values, offsets, np.array([1, 0, PAD_ROW]), most=128)
    np.testing.assert_array_equal(padded, [[3, 4, 5, 6, 7, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0, 0], [0] * 8])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
