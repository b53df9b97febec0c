"""Weights in eight bits: symmetric, with a scale of its own for each output channel.

Activations are rounded, too: all channels of a token by the same step, which its largest channel decides. DistilBERT
has channels twenty times as large as the others. So each channel is divided by a number of its own, and its row of the
kernel is multiplied by that number (SmoothQuant, arXiv:2211.10438): the product is the same, and rounding changes
MiniLM's [CLS] vectors half as much. How large a channel gets is a property of the weights and hardly of the texts.
"""

from typing import NamedTuple

import numpy as np

LARGEST = 127  # -128 is not used, so that a weight and its negative are equally exact
MOVED = 0.75  # how much of a channel's size moves into the weights; 0.4, 0.5 and 0.6 left larger errors in MiniLM
LEAST = 1e-6  # size of a channel that is always 0, or that no output reads


class Divisors(NamedTuple):
    """What a block's activations are divided by before they are rounded, float32[D] each.

    Attributes:
      qkv: Those that enter attention.
      lin1: Those that enter the feed-forward part.
    """

    qkv: np.ndarray
    lin1: np.ndarray


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


def divisor(activations: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns float32[D], what each channel is divided by before it is rounded.

    Args:
      activations: float32[tokens, D], typical ones.
      kernel: float32[D, outputs], what they are multiplied with.
    """
    largest, of_weights = np.abs(activations).max(axis=0), np.abs(kernel).max(axis=1)
    logarithm = MOVED * np.log(np.maximum(largest, LEAST)) - (1 - MOVED) * np.log(np.maximum(of_weights, LEAST))
    return np.exp(logarithm - logarithm.mean()).astype(np.float32)
