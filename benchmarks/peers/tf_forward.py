"""transformers' TensorFlow encoder, compiled to a graph, over length-sorted batches of token ids."""

import common
import tf_common


def load(arguments):
    """Adds the compiled encoder."""
    model, tokenizer = tf_common.load(arguments)
    return tf_common.compiled(model.distilbert), tokenizer


def prepare(loaded, texts):
    """Returns the padded batches."""
    return tf_common.padded_batches(loaded[1], texts)


def run(loaded, work) -> None:
    """Runs the encoder on each batch."""
    for _, ids, mask in work:
        loaded[0](ids, mask)


if __name__ == "__main__":
    common.measure_pass(__doc__, load=load, prepare=prepare, run=run)
