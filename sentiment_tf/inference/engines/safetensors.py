"""Answers from a run's folder for transformers with our own fused graph: needs TensorFlow and tokenizers.

The export's proof of that folder in float32, the bfloat16 of ``--engine=tensorflow``, whose SavedModel holds its
precision in its graph, and the explanations: they need gradients, which lead through `encoder`'s functions over these
weights, and each word's place in the raw text, which the tokenizer of this folder knows. A SavedModel has neither: its
signatures were written for inference, and its tokenizer is a graph that rewrites the text before it divides it.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import safetensors.numpy
import tensorflow as tf
import tokenizers

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.evaluation import attributions, thresholds
from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.modeling import distilbert, distilbert_settings, encoder
from sentiment_tf.system import small_files

_IDS = tf.TensorSpec([None, None], tf.int32)
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character


class FusedClassifier(classifier.Classifier):
    """The network of a folder for transformers in one fused graph; see `classifier.Classifier`."""

    engine = "tensorflow"

    def __init__(self, weights: encoder.Weights, config: dict, tokenizer: tokenizers.Tokenizer, *, precision: str):
        """Wraps the content of a folder; see `load`."""
        self.label_names = tuple(config["id2label"][str(number)] for number in range(len(config["id2label"])))
        self.max_length = tokenizer.truncation["max_length"]
        self.threshold = config.get("threshold")
        self.precision = precision
        self._tokenizer = tokenizer
        self._weights = encoder.cast_for_compute(tf.nest.map_structure(tf.constant, weights), tf.as_dtype(precision))
        self._heads, self._activation = config["n_heads"], config["activation"]
        # Traced once for all shapes; without AutoGraph, which would translate functions that have nothing to translate.
        self._forward = tf.function(self._logits_of, input_signature=[_IDS, _IDS], autograph=False)
        self._path = tf.function(self._path_of, input_signature=[attributions.POINTS], autograph=False)
        self._padding_id = tokenizer.token_to_id("[PAD]")
        self._pool = ThreadPoolExecutor(1)

    def begin(self, texts: Sequence[str | bytes]) -> Future:
        """Starts to answer one request."""
        return self._pool.submit(lambda: classifier.softmax(self.logits(texts)))

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request before softmax: float32[texts, classes]."""
        encodings = self._tokenizer.encode_batch_fast([classifier.as_text(text) for text in texts])
        rows = [encoding.ids for encoding in encodings]
        return classifier.logits_in_batches(self._batch, rows, classes=len(self.label_names))

    def explain(self, texts: Sequence[str | bytes]) -> list[attributions.Explanation]:
        """Answers texts with the weight of each word; see `classifier.Classifier.explain`.

        Raises:
          UserError: the precision is not float32, whose rounding the sum of the weights would show.
        """
        if self.precision != "float32":
            raise UserError(f"--precision={self.precision}: explanations need float32; leave it out")
        given = [_decoded(text) for text in texts]
        encodings = self._tokenizer.encode_batch([_LONE_SURROGATES.sub("\ufffd", text) for text in given])
        probabilities = self.probabilities(texts)
        labels = thresholds.decide(probabilities, self.threshold)
        rows = [encoding.ids for encoding in encodings]
        baselines = [
            np.where(encoding.special_tokens_mask, encoding.ids, self._padding_id).tolist() for encoding in encodings
        ]
        found = attributions.integrate(self._gradients, rows, baselines, labels.tolist())
        return [
            attributions.Explanation(
                self.label_names[label],
                each,
                attributions.words(text, encoding, attribution.weights),
                *attribution[1:],
            )
            for text, encoding, label, each, attribution in zip(
                given, encodings, labels, probabilities, found, strict=True
            )
        ]

    def _gradients(self, batch: attributions.PathBatch) -> tuple[np.ndarray, np.ndarray]:
        odds, products = self._path(attributions.PathBatch(*map(tf.constant, batch)))
        return odds.numpy(), products.numpy()

    def _batch(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        return self._forward(tf.constant(input_ids), tf.constant(attention_mask)).numpy()

    def _path_of(self, batch):
        return attributions.path_gradients(self._weights, batch, heads=self._heads, activation=self._activation)

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
        distilbert_settings.read(str(folder), str(folder))
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
    except KeyError as error:
        raise UserError(
            f"{folder}: lacks {error}, as runs of older versions do; their SavedModel answers, in float32 and without "
            "--explain; train again for more"
        ) from error
    except Exception as error:  # each reader raises its own kind for a damaged file
        raise UserError(f"{folder}: cannot be read ({first_line(error)}); export the run again") from error


def _decoded(text: str | bytes) -> str:
    """Returns the text in which words have their places; a lone surrogate stays, so that they are the raw text's."""
    return classifier.as_text(text) if isinstance(text, bytes) else text
