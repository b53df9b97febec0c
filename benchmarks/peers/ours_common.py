"""This project's side of loading: TensorFlow started as a run starts it, model, tokenizer, dtype."""

from typing import NamedTuple

import common

from sentiment_tf.system import runtime

runtime.start()  # sets the thread layout, so it comes before anything that loads TensorFlow
import tensorflow as tf  # noqa: E402

from sentiment_tf.data import tokenization  # noqa: E402
from sentiment_tf.data.registry import Depth  # noqa: E402
from sentiment_tf.distributed import strategies  # noqa: E402
from sentiment_tf.modeling import bert_tokenizer, distilbert, pretrained, trainable  # noqa: E402

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "int8": "int8"}


class Loaded(NamedTuple):
    """A classifier, its tokenizer, the dtypes of the matmuls, and how much is trained.

    The frozen layers compute in ``frozen_dtype`` for training rows, else in ``compute_dtype``.
    """

    model: object  # TFDistilBertForSequenceClassification
    tokenizer: object  # tokenizers.Tokenizer
    tail: trainable.TrainableLayers
    compute_dtype: tf.DType
    frozen_dtype: tf.DType
    depth: Depth


def load(arguments) -> Loaded:
    """Reads model and tokenizer; a head is drawn by seed."""
    files = pretrained.find_model(arguments.model, revision=None, cache_dir=arguments.scratch, offline=True)
    directory, name = files.directory, arguments.model
    model = distilbert.load_classifier(directory, label_names=common.LABEL_NAMES, name=name, seed=arguments.seed)
    tokenizer = bert_tokenizer.load(directory, name=name, vocabulary_size=model.config.vocab_size)
    precision = PRECISIONS[arguments.precision]
    dtype = strategies.compute_dtype(precision)
    depth = "all" if arguments.depth is None else arguments.depth
    tail = trainable.TrainableLayers(
        model, depth=depth, compute_dtype=dtype, seed=arguments.seed, parts=trainable.parts(common.BATCH_SIZE)
    )
    return Loaded(model, tokenizer, tail, dtype, strategies.frozen_dtype(precision), depth)


def tokenize(loaded: Loaded, texts) -> tokenization.Tokens:
    """Returns the token ids of texts."""
    return tokenization.tokenize(loaded.tokenizer, texts, max_length=common.MAX_LENGTH)
