import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.training.optimizer import FusedAdamW, WarmupDecay


def never(variable) -> bool:
    return False


def test_dense_steps_equal_keras_adamw():
    start = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    mine, theirs = tf.Variable(start), tf.Variable(start)
    ours = FusedAdamW(0.01, weight_decay=0.1, epsilon=1e-6, global_clipnorm=1.0)
    reference = keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-6, global_clipnorm=1.0)
    for step in range(5):
        gradient = tf.constant(np.random.default_rng(step + 1).normal(size=(7, 3)), tf.float32)
        ours.apply_gradients([(gradient, mine)])
        reference.apply_gradients([(gradient, theirs)])
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert np.abs(mine.numpy() - start).max() > 0.01


def test_first_step_by_hand():
    # Adam's first step is the learning rate in the gradient's direction, whatever its size; decay is apart.
    variable = tf.Variable([1.0, -2.0])
    FusedAdamW(0.1, weight_decay=0.5, epsilon=1e-12).apply_gradients([(tf.constant([0.3, -0.4]), variable)])
    np.testing.assert_allclose(variable, [1.0 * 0.95 - 0.1, -2.0 * 0.95 + 0.1], atol=1e-5)


def test_what_is_not_decayed_stands_still_without_gradient():
    variable = tf.Variable([1.0, -2.0])
    FusedAdamW(0.1, weight_decay=0.5, decayed=never).apply_gradients([(tf.zeros(2), variable)])
    np.testing.assert_array_equal(variable, [1.0, -2.0])


def test_sparse_gradient_updates_its_rows_as_a_dense_one_would_and_no_other():
    start = np.arange(8, dtype=np.float32).reshape(4, 2)
    sparse, dense = tf.Variable(start), tf.Variable(start[1:3])
    # Row 1 stands twice, as a token that a batch holds twice: its parts add up.
    gradient = tf.IndexedSlices(
        tf.constant([[0.1, 0.2], [0.3, 0.1], [0.2, 0.2]]), tf.constant([1, 2, 1]), tf.constant([4, 2])
    )
    added = tf.constant([[0.3, 0.4], [0.3, 0.1]])
    first, second = (FusedAdamW(0.1, weight_decay=0.1) for _ in range(2))
    for _ in range(3):
        first.apply_gradients([(gradient, sparse)])
        second.apply_gradients([(added, dense)])
    # The kernel takes 1 - 0.999^t in float32: a few parts in a million of a step of 0.1.
    np.testing.assert_allclose(sparse[1:3], dense, atol=5e-6)
    np.testing.assert_array_equal(sparse.numpy()[[0, 3]], start[[0, 3]])


def test_multiplier_scales_a_variables_rate():
    fast, slow = tf.Variable([0.0], name="fast"), tf.Variable([0.0], name="slow")
    optimizer = FusedAdamW(0.1, weight_decay=0.0, multiplier=lambda variable: 0.1 if "slow" in variable.name else 1.0)
    optimizer.apply_gradients([(tf.constant([1.0]), fast), (tf.constant([1.0]), slow)])
    assert float(slow[0]) == pytest.approx(0.1 * float(fast[0]), rel=1e-4)


def test_schedule_by_hand():
    schedule = WarmupDecay(1.0, steps=10, warmup_steps=4)
    rates = [float(schedule(step)) for step in range(11)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0], atol=1e-6)


def test_cosine_schedule_by_hand():
    schedule = WarmupDecay(2.0, steps=8, warmup_steps=0, shape="cosine")
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 2, 4, 8)], [2, 1 + 2**-0.5, 1, 0], atol=1e-6)


def test_schedule_without_warmup_starts_at_its_peak():
    assert float(WarmupDecay(0.5, steps=4, warmup_steps=0)(0)) == 0.5
