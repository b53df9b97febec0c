"""Raw text to label by transformers' text-classification pipeline over its TensorFlow classifier.

It is asked for batches of 64; with TensorFlow the pipeline runs text by text whatever it is asked for
(`can_use_iterator` in transformers/pipelines/base.py).
"""

import os

import common

os.environ["USE_TORCH"] = "AUTO"  # where accelerate is installed, transformers' pipelines do not load without PyTorch
import tf_common
import transformers


def load(arguments):
    """Returns the pipeline."""
    model, tokenizer = tf_common.load(arguments)
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, framework="tf")


def run(pipeline, texts) -> None:
    """Answers every text."""
    pipeline(texts, batch_size=common.FORWARD_BATCH_SIZE, truncation=True, max_length=common.MAX_LENGTH)


if __name__ == "__main__":
    common.measure_pass(__doc__, load=load, prepare=lambda loaded, texts: texts, run=run)
