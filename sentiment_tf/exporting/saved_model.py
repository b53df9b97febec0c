"""Writes a trained classifier as a SavedModel that answers raw text, in TF Serving's layout."""

import functools
import os
from pathlib import Path

import tensorflow as tf

from sentiment_tf.exporting import manifest, warmup
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.exporting.graph_tokenizer import GraphTokenizer
from sentiment_tf.modeling import encoder

_ROWS_AT_ONCE = 32  # of like length: their activations stay in a core's cache
_TOKENS = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("input_ids", "attention_mask")]
_BATCHES_SIDE_BY_SIDE = 4  # bounds memory where there are more cores than that


def write(bundle: Bundle, directory: str | os.PathLike) -> None:
    """Writes a SavedModel with its warm-up requests and MANIFEST, in float32 whatever precision trained it.

    Signatures, for a batch of any size, empty ones too:

    * `serving_default(text: string[batch])` → `label` string[batch], its `probability` float32[batch],
      `probabilities` float32[batch, classes];
    * `tokens(input_ids, attention_mask: int32[batch, length])` → `logits`, `probabilities`, both
      float32[batch, classes].

    Args:
      bundle: the trained model.
      directory: the version folder, such as `<run>/1`; must not exist.

    Raises:
      FileExistsError: the version folder is there already.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    model = _Served(bundle)
    signatures = {"serving_default": model.serving_default, "tokens": model.tokens}
    # Its gradients are for nobody: explanations take the weights in hf/.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(model, str(directory), signatures=signatures, options=options)
    warmup.write(directory, _warmup_batches(bundle.max_length))
    manifest.write(directory)


# AutoGraph would translate Python's control flow, of which these functions have none: half of the tracing's time.
_graph_function = functools.partial(tf.function, autograph=False)


class _Served(tf.Module):
    """What the SavedModel holds: weights, vocabulary and the functions over them."""

    def __init__(self, bundle: Bundle):
        super().__init__()
        self._tokenizer = GraphTokenizer(bundle.vocabulary, bundle.lower_case, bundle.max_length)
        self._weights = tf.nest.map_structure(
            lambda weight: tf.Variable(tf.cast(weight, tf.float32), trainable=False), bundle.weights
        )
        self._heads, self._activation = bundle.heads, bundle.activation
        self._label_names, self._decision = list(bundle.label_names), bundle.decision

    @_graph_function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serving_default(self, text):
        probabilities = self._probabilities(_sorted_in_batches(self._logits, *self._tokenizer(text)))
        classes = self._decide(probabilities)
        return {
            "label": tf.gather(self._label_names, classes),
            "probability": tf.gather(probabilities, classes, axis=1, batch_dims=1),
            "probabilities": probabilities,
        }

    @_graph_function(input_signature=_TOKENS)
    def tokens(self, input_ids, attention_mask):
        logits = self._logits(input_ids, attention_mask)
        return {"logits": logits, "probabilities": self._probabilities(logits)}

    @_graph_function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def tokenize(self, text):
        """Beside the signatures, for `saved_model.SentimentModel`: what `tokens` is to be asked."""
        input_ids, attention_mask = self._tokenizer(text)
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    @_graph_function(input_signature=[])
    def settings(self):
        """Beside the signatures, for `saved_model.SentimentModel`: what the weights do not say."""
        return {
            "label_names": tf.constant(self._label_names),
            "max_length": tf.constant(self._tokenizer.max_length),
            **{name: tf.constant(value, tf.float32) for name, value in self._decision.items()},
        }

    # A function of its own is traced once, and not again at each of its three uses.
    @_graph_function(input_signature=_TOKENS)
    def _logits(self, input_ids, attention_mask):
        weights = tf.nest.map_structure(tf.convert_to_tensor, self._weights)
        return encoder.logits(weights, input_ids, attention_mask, heads=self._heads, activation=self._activation)

    def _decide(self, probabilities):
        """Returns the class of each text, int64[batch], as `evaluation.thresholds.decide` does."""
        if not self._decision:
            return tf.argmax(probabilities, axis=-1)
        return tf.cast(probabilities[:, 1] >= self._decision["threshold"], tf.int64)

    def _probabilities(self, logits):
        logits = tf.ensure_shape(logits, [None, len(self._label_names)])
        return tf.nn.softmax(logits)


def _sorted_in_batches(logits_of, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
    """Runs a large request as batches of like length, several side by side.

    A request of a thousand texts would otherwise be padded to its longest and need gigabytes for attention.

    Args:
      logits_of: (int32[rows, length], int32[rows, length]) → float32[rows, classes].
      input_ids: int32[batch, length].
      attention_mask: int32[batch, length].

    Returns:
      float32[batch, classes], in the order of the request.
    """
    rows = tf.shape(input_ids)[0]

    def in_batches():
        """Answers a large request in parts of like length."""
        batches = (rows + _ROWS_AT_ONCE - 1) // _ROWS_AT_ONCE
        size = (rows + batches - 1) // batches
        lengths = tf.reduce_sum(attention_mask, axis=1)
        order = tf.argsort(lengths, direction="DESCENDING")  # the longest first: the last to finish is short

        def one_batch(number):
            # The last batch may have a few rows too many; they repeat the last row and are dropped below.
            members = tf.gather(order, tf.minimum(tf.range(number * size, (number + 1) * size), rows - 1))
            width = lengths[members[0]]
            return logits_of(tf.gather(input_ids, members)[:, :width], tf.gather(attention_mask, members)[:, :width])

        logits = tf.map_fn(
            one_batch,
            tf.range(batches),
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
            parallel_iterations=_BATCHES_SIDE_BY_SIDE,
        )
        in_order_of_length = tf.reshape(logits, [batches * size, tf.shape(logits)[-1]])[:rows]
        return tf.gather(in_order_of_length, tf.argsort(order))

    return tf.cond(rows <= _ROWS_AT_ONCE, lambda: logits_of(input_ids, attention_mask), in_batches)


def _warmup_batches(max_length: int) -> list[list[str]]:
    """One text of each of a few lengths, and a request large enough to be split into batches."""
    lengths = sorted({min(length, max_length) for length in (4, 16, 64, max_length)})
    return [["good " * length] for length in lengths] + [["good"] * (_ROWS_AT_ONCE + 1)]
