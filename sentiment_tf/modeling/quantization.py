"""Weights in eight bits: symmetric, with a scale of its own for each output channel."""

import numpy as np

LARGEST = 127  # -128 is not used, so that a weight and its negative are equally exact


def per_row(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds each row to multiples of its own scale.

    Args:
      weights: float32[rows, columns]; a row is what one output channel, or one word, is made of.

    Returns:
      (int8[rows, columns], scales float32[rows]); ``weights ≈ values * scales[:, None]``.
    """
    scales = np.maximum(weights.max(axis=1), -weights.min(axis=1)) / np.float32(LARGEST)
    scales = np.where(scales > 0, scales, np.float32(1))  # a row of zeros stays one
    return np.rint(weights / scales[:, None]).astype(np.int8), scales.astype(np.float32)
