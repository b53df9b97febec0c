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
