import numpy as np

from sentiment_tf.modeling import quantization


def test_by_hand():
    values, scales = quantization.per_row(np.array([[1.27, -0.5, 0.004], [0, 0, 0], [-254, 127, 1]], np.float32))
    assert values.dtype == np.int8
    assert values.tolist() == [[127, -50, 0], [0, 0, 0], [-127, 64, 0]]
    np.testing.assert_allclose(scales, [0.01, 1, 2], rtol=1e-6)


def test_no_weight_moves_by_more_than_half_a_step():
    weights = np.random.default_rng(0).normal(size=(20, 300)).astype(np.float32)
    values, scales = quantization.per_row(weights)
    assert (np.abs(values * scales[:, None] - weights) <= scales[:, None] * 0.5001).all()
    assert (np.abs(values).max(axis=1) == 127).all()


def test_divisors_by_hand():
    activations = np.array([[16, -1, 0], [-4, 0.5, 0]], np.float32)
    kernel = np.array([[1, -0.5], [0.25, 1], [0, 0]], np.float32)
    found = quantization.divisor(activations, kernel)
    # 16 ** 0.75 to 1, and as much for a channel that is never used as if it were 1e-6 large, before a kernel as small.
    np.testing.assert_allclose(found / found[1], [8, 1, 1e-6**0.5], rtol=1e-5)
    np.testing.assert_allclose(np.prod(found), 1, rtol=1e-5)
