"""Answers from a run's folder for transformers with our own fused graph: needs TensorFlow and tokenizers.

The export's proof of that folder in float32, and the bfloat16 of ``--engine=tensorflow``, whose SavedModel holds its
precision in its graph.
"""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import safetensors.numpy
import tensorflow as tf
import tokenizers

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.system import runtime, small_files

_TOKENS_AT_ONCE = 1024  # per batch: its intermediate results stay in one core's cache


class FusedClassifier(classifier.Classifier):
    """The network of a folder for transformers in one fused graph; see `classifier.Classifier`."""

    engine = "tensorflow"

    def __init__(self, weights: encoder.Weights, config: dict, tokenizer: tokenizers.Tokenizer, *, precision: str):
        """Wraps the content of a folder; see `load`."""
        self.label_names = tuple(config["id2label"][str(number)] for number in range(len(config["id2label"])))
        self.max_length = tokenizer.truncation["max_length"]
        self.precision = precision
        self._tokenizer = tokenizer
        self._weights = encoder.cast_for_compute(tf.nest.map_structure(tf.constant, weights), tf.as_dtype(precision))
        self._heads, self._activation = config["n_heads"], config["activation"]
        self._forward = tf.function(self._logits_of, reduce_retracing=True)
        self._pool = ThreadPoolExecutor(1)

    def begin(self, texts: Sequence[str | bytes]) -> Future:
        """Starts to answer one request."""
        return self._pool.submit(lambda: classifier.softmax(self.logits(texts)))

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request before softmax: float32[texts, classes]."""
        encodings = self._tokenizer.encode_batch_fast([classifier.as_text(text) for text in texts])
        ids = [encoding.ids for encoding in encodings]
        logits = np.empty([len(texts), len(self.label_names)], np.float32)
        batches = _batches([len(row) for row in ids])
        of_batch = functools.partial(self._batch, ids)
        answers = runtime.side_by_side(of_batch, batches, workers=runtime.cores())
        for rows, answer in zip(batches, answers, strict=True):
            logits[rows] = answer
        return logits

    def _batch(self, ids: list[list[int]], rows: list[int]) -> np.ndarray:
        shape = [len(rows), max(len(ids[row]) for row in rows)]
        padded, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for place, row in enumerate(rows):
            padded[place, : len(ids[row])], mask[place, : len(ids[row])] = ids[row], 1
        return self._forward(tf.constant(padded), tf.constant(mask)).numpy()

    def _logits_of(self, input_ids, attention_mask):
        return encoder.logits(self._weights, input_ids, attention_mask, heads=self._heads, activation=self._activation)


def load(folder: str | os.PathLike, *, precision: str = "float32") -> FusedClassifier:
    """Loads a folder that `exporting.huggingface` wrote.

    Args:
      folder: such as `<run>/hf`.
      precision: "float32" or "bfloat16", of the matrix multiplications.

    Raises:
      UserError: a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        distilbert.read_settings(str(folder), str(folder))
        config = small_files.read_object(folder / layout.HF_CONFIG)
        settings = small_files.read_object(folder / "tokenizer_config.json")
        named = safetensors.numpy.load_file(folder / layout.HF_WEIGHTS)
        if damaged := [name for name, array in named.items() if not np.isfinite(array).all()]:
            raise ValueError(f"its weight {damaged[0]} holds numbers that are not finite")
        weights = distilbert.fused_weights(named, heads=config["n_heads"])
        file = small_files.check_size(folder / layout.TOKENIZER, most=small_files.LARGEST_TOKENIZER)
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.enable_truncation(settings["model_max_length"])
        return FusedClassifier(weights, config, tokenizer, precision=precision)
    except Exception as error:  # each reader raises its own kind for a damaged file
        raise UserError(f"{folder}: cannot be read ({first_line(error)}); export the run again") from error


def _batches(lengths: list[int]) -> list[list[int]]:
    """Groups texts, the longest first, into batches of about `_TOKENS_AT_ONCE` tokens; a list of rows each."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches, start = [], 0
    while start < len(order):
        size = max(_TOKENS_AT_ONCE // lengths[order[start]], 1)
        batches.append(order[start : start + size])
        start += size
    return batches
