"""This project: the steps of a run from raw texts to trained weights, through the package's own functions."""

import tempfile

import common
import numpy as np
import ours_common
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import leaks
from sentiment_tf.modeling import distilbert, features
from sentiment_tf.training import fitting, head_solver


def features_of(loaded, texts, *, compute_dtype, cache_dir: str | None) -> features.Features:
    """Returns the tail's inputs for raw texts."""
    of_split = features.compute(
        loaded.model,
        {"texts": ours_common.tokenize(loaded, texts)},
        depth=loaded.depth,
        compute_dtype=compute_dtype,
        max_length=common.MAX_LENGTH,
        cache_dir=cache_dir,
    )
    return of_split["texts"]


def compile_model(loaded, arguments, *, rows: int) -> TrainConfig:
    """Compiles the trainable layers with the defaults of a run; returns the settings to fit them with."""
    config = TrainConfig(
        epochs=arguments.epochs,
        batch_size=common.BATCH_SIZE,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
    )
    fitting.compile_model(config, loaded.tail, rows=rows)
    return config


def train(loaded, arguments, texts, labels, steps) -> None:
    """Raw texts to trained weights; as in a run, features go through the cache on disk, which starts empty."""
    warm = arguments.cache == "warm"
    cache_dir = arguments.scratch if warm else tempfile.mkdtemp(dir=arguments.scratch)
    inputs = features_of(loaded, texts, compute_dtype=loaded.frozen_dtype, cache_dir=cache_dir)
    if loaded.depth == 0 and arguments.head == "solve":
        rows = head_solver.Rows(inputs.values, np.eye(2, dtype=np.float32)[labels], np.ones(len(labels), np.float32))
        head, _ = head_solver.solve(
            rows, groups=lambda rows: leaks.groups([texts[row] for row in rows]), seed=arguments.seed
        )
        distilbert.set_linear_head(loaded.model, *head)
        return
    config = compile_model(loaded, arguments, rows=len(texts))
    # Without validation: held-out rows are scored after the clock, here as for every peer.
    fitting.fit(
        config,
        loaded.tail,
        inputs,
        np.asarray(labels, np.int32),
        # A hook after each step costs time that a run does not spend; it is needed for the rate of few steps alone.
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=steps.end)] if arguments.steps else [],
    )


def classify(loaded, texts) -> np.ndarray:
    """Returns a class number for each text."""
    inputs = features_of(loaded, texts, compute_dtype=loaded.compute_dtype, cache_dir=None)
    return fitting.predict_logits(loaded.tail, inputs).argmax(-1)


if __name__ == "__main__":
    common.measure_training(__doc__, load=ours_common.load, train=train, classify=classify)
