"""This project's encoder forward pass over length-sorted batches of token ids, one batch per core, as the trunk has it.

The result is the [CLS] vectors: of the last block nothing else is read, and so nothing else is computed.
"""

from typing import NamedTuple

import common
import ours_common
import tensorflow as tf

from sentiment_tf.data import batching
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.system import runtime


class Forward(NamedTuple):
    """The compiled forward pass with its weights."""

    loaded: ours_common.Loaded
    graph: tf.types.experimental.PolymorphicFunction
    weights: encoder.Weights


def load(arguments) -> Forward:
    """Reads the model and packs its weights."""
    loaded = ours_common.load(arguments)
    config, weights = loaded.model.config, distilbert.read_weights(loaded.model)
    weights = weights._replace(blocks=encoder.cast_for_compute(weights.blocks, loaded.frozen_dtype))

    @tf.function(reduce_retracing=True)
    def graph(weights, ids, mask):
        hidden = encoder.embed(weights.embeddings, ids)
        return encoder.run_blocks(
            weights.blocks, hidden, mask, heads=config.n_heads, activation=config.activation, pooled=True
        )

    return Forward(loaded, graph, weights)


def prepare(forward: Forward, texts):
    """Returns the padded batches."""
    tokens = ours_common.tokenize(forward.loaded, texts)
    padded = [
        batching.pad(tokens.ids, tokens.offsets, rows, most=common.MAX_LENGTH)
        for rows in common.by_length(tokens.lengths.tolist())
    ]
    return [(tf.constant(ids, tf.int32), tf.constant(mask)) for ids, mask in padded]


def run(forward: Forward, work) -> None:
    """Runs the encoder on each batch."""
    answers = runtime.side_by_side(
        lambda batch: forward.graph(forward.weights, *batch).numpy(), work, workers=runtime.cores()
    )
    for _ in answers:
        pass


if __name__ == "__main__":
    common.measure_pass(__doc__, load=load, prepare=prepare, run=run)
