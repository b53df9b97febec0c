"""Raw text to label by transformers' TensorFlow classifier, compiled to a graph: length-sorted batches of 64."""

import common
import tensorflow as tf
import tf_common


def load(arguments):
    """Returns the compiled classifier and the tokenizer."""
    model, tokenizer = tf_common.load(arguments)
    return tf_common.compiled(model), tokenizer


def run(loaded, texts) -> list[int]:
    """Returns a class number for each text."""
    classifier, tokenizer = loaded
    answers = [0] * len(texts)
    for rows, ids, mask in tf_common.padded_batches(tokenizer, texts):
        for row, answer in zip(rows, tf.nn.softmax(classifier(ids, mask)).numpy().argmax(-1), strict=True):
            answers[row] = int(answer)
    return answers


if __name__ == "__main__":
    common.measure_pass(__doc__, load=load, prepare=lambda loaded, texts: texts, run=run)
