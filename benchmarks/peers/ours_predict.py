"""Raw text to label by this project's SavedModel, loaded and run as the predict command does it."""

from pathlib import Path

import common

from sentiment_tf.inference.engines import tensorflow as saved_model
from sentiment_tf.system import runtime


def load(arguments) -> saved_model.SentimentModel:
    """Starts TensorFlow and reads the SavedModel."""
    runtime.start()
    return saved_model.load(Path(arguments.scratch) / "saved_model/1")


if __name__ == "__main__":
    common.measure_pass(
        __doc__,
        load=load,
        prepare=lambda model, texts: texts,
        run=lambda model, texts: model.predict(texts),
    )
