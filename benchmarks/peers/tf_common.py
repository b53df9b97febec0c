"""transformers' TensorFlow classes: loading, freezing, answering."""

import os
from typing import NamedTuple

import common

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # transformers' TensorFlow classes are Keras 2 code
os.environ.setdefault("USE_TORCH", "0")  # else transformers loads PyTorch too, which would count as TensorFlow's memory
import tensorflow as tf
import tf_keras as keras
import transformers


class Loaded(NamedTuple):
    """A classifier and its tokenizer."""

    model: transformers.TFDistilBertForSequenceClassification
    tokenizer: transformers.DistilBertTokenizerFast


def load(arguments) -> Loaded:
    """Reads model and tokenizer; a head is drawn by seed."""
    transformers.logging.set_verbosity_error()
    keras.utils.set_random_seed(arguments.seed)
    if arguments.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = transformers.TFDistilBertForSequenceClassification.from_pretrained(arguments.model, num_labels=2)
    return Loaded(model, transformers.DistilBertTokenizerFast.from_pretrained(arguments.model))


def freeze(model, depth: int | None) -> None:
    """Makes everything under the top ``depth`` blocks untrainable."""
    if depth == 0:
        model.distilbert.trainable = False
    elif depth is not None:
        blocks = model.distilbert.transformer.layer
        for layer in (model.distilbert.embeddings, *blocks[: len(blocks) - depth]):
            layer.trainable = False


def compiled(layer):
    """Returns a model or encoder as a graph that takes batches of any size: int32[batch, tokens] ids and mask."""
    anything = tf.TensorSpec([None, None], tf.int32)
    return tf.function(
        lambda ids, mask: layer(ids, attention_mask=mask, training=False)[0], input_signature=[anything, anything]
    )


def padded_batches(tokenizer, texts) -> list[tuple[list[int], tf.Tensor, tf.Tensor]]:
    """Returns length-sorted batches: row numbers, ids and mask int32[batch, tokens]."""
    ids = tokenizer(texts, truncation=True, max_length=common.MAX_LENGTH)["input_ids"]
    batches = []
    for rows in common.by_length([len(row) for row in ids]):
        batch = tf.ragged.constant([ids[row] for row in rows])
        batches.append((rows, batch.to_tensor(), tf.sequence_mask(batch.row_lengths(), dtype=tf.int32)))
    return batches
