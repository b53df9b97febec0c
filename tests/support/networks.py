"""Small random networks for the tests of the exported files, and what the encoder makes of the same weights."""

import numpy as np
import tensorflow as tf

from sentiment_tf.modeling import encoder

VOCABULARY_SIZE, POSITIONS = 50, 40


def weights(*, width=16, hidden=32, blocks=2, classes=3, seed=0) -> encoder.Weights:
    """Random float32 weights, large enough for differences to show."""
    generator = np.random.default_rng(seed)

    def draw(*shape, centre=0.0, scale=0.3):
        return generator.normal(loc=centre, scale=scale, size=shape).astype(np.float32)

    def norm():
        return draw(width, centre=1.0), draw(width)

    def block():
        return encoder.Block(
            *(draw(width, 3 * width), draw(3 * width), draw(width, width), draw(width), *norm()),
            *(draw(width, hidden), draw(hidden), draw(hidden, width), draw(width), *norm()),
        )

    return encoder.Weights(
        encoder.Embeddings(draw(VOCABULARY_SIZE, width), draw(POSITIONS, width), *norm()),
        tuple(block() for _ in range(blocks)),
        encoder.Head(draw(width, width), draw(width), draw(width, classes), draw(classes)),
    )


def ids(rows: int, length: int, *, seed: int = 0) -> np.ndarray:
    """int32[rows, length]."""
    return np.random.default_rng(seed).integers(0, VOCABULARY_SIZE, (rows, length)).astype(np.int32)


def expected(weights: encoder.Weights, input_ids, mask=None, **settings) -> np.ndarray:
    """The encoder's logits, float32[rows, classes]."""
    weights = tf.nest.map_structure(tf.constant, weights)
    mask = np.ones_like(input_ids) if mask is None else mask
    return encoder.logits(weights, input_ids, mask, **settings).numpy()
