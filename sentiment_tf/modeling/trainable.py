"""The Keras model that ``fit`` trains: the layers above the freeze point."""

import functools

import tensorflow as tf
import tf_keras as keras

from sentiment_tf.data.registry import Depth
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.system import runtime


def parts(rows: int) -> int:
    """Returns the number of parts that a batch of ``rows`` texts is split into for training on one device."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return 1
    return max(min(runtime.cores(), rows // runtime.LEAST_ROWS, runtime.MOST_PARTS), 1)


class TrainableLayers(keras.Model):
    """The top blocks and the head of a loaded model, as a Keras model over those very layers.

    Its variables are the loaded model's own; after ``fit`` the whole model is trained. Its input is the output of the
    frozen layers:

    * depth 0: the [CLS] vectors, float32[batch, D];
    * depth k below the number of blocks: hidden states [batch, tokens, D] and attention_mask int32[batch, tokens];
    * all blocks (depth k), or all blocks and the embeddings (depth "all"): token ids int32[batch, tokens] and
      attention_mask. The embeddings are looked up here, but trained only for depth "all".

    On a CPU a training batch is split into several parts in one graph. They share no operation until their gradients
    are added, so each keeps a core busy without a barrier per operation.
    """

    def __init__(self, model, *, depth: Depth, compute_dtype: tf.DType, seed: int, parts: int):
        """Takes the layers above the freeze point from a loaded model.

        Args:
          model: From `distilbert.load_classifier`.
          depth: How much of the model is trained.
          compute_dtype: Dtype of the matrix multiplications.
          seed: Random seed of the dropout masks.
          parts: Number of parts that a training batch is split into.
        """
        super().__init__(name="trainable_layers")
        total = model.config.num_hidden_layers
        self.blocks, self.head, self.embeddings = distilbert.trainable_layers(model, depth)
        self.takes_token_ids = depth in ("all", total)
        self._read = functools.partial(
            distilbert.read_weights,
            model,
            blocks=slice(total - len(self.blocks), None),
            embeddings=self.takes_token_ids,
        )
        self._rates = encoder.DropoutRates(*distilbert.dropout_rates(model))
        self._embedding_rate = self._rates.hidden if depth == "all" else 0.0  # frozen layers run without dropout
        self._architecture = distilbert.architecture(model)
        self.matmul_dtype = compute_dtype
        self._seed, self._parts, self._blocks_of_model = seed, parts, total
        self.evaluate_batch = tf.function(self.forward, reduce_retracing=True)

    def read_weights(self) -> encoder.Weights:
        """Returns the weights for `forward`; the embeddings are None unless the input is token ids."""
        return encoder.cast_for_compute(self._read(), self.matmul_dtype)

    def forward(self, weights: encoder.Weights, inputs: dict, dropout=encoder.no_dropout) -> tf.Tensor:
        """Returns the logits, float32[batch, classes], as a pure function of weights and inputs."""
        features = inputs["features"]
        if features.shape.rank == 2 and not self.takes_token_ids:
            return encoder.classify(weights.head, features, dropout=dropout, rate=self._rates.head)
        if self.takes_token_ids:
            ids = tf.cast(features, tf.int32)
            hidden = encoder.embed(weights.embeddings, ids, dropout=dropout, rate=self._embedding_rate)
        else:
            hidden = tf.cast(features, tf.float32)
        pooled = encoder.run_blocks(
            weights.blocks,
            hidden,
            inputs["attention_mask"],
            pooled=True,
            dropout=dropout,
            rates=self._rates,
            **self._architecture,
        )
        return encoder.classify(weights.head, pooled, dropout=dropout, rate=self._rates.head)

    def call(self, inputs: dict, training: bool = False) -> tf.Tensor:
        """Returns the logits, float32[batch, classes]; in training with dropout masks given by seed and step."""
        weights = self.read_weights()
        if not training:
            return self.forward(weights, inputs)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.optimizer.iterations, tf.int32)
        logits = []
        for number, part in enumerate(_split(inputs, self._parts if self.blocks else 1)):
            seed = tf.stack([self._seed ^ (number << 8) ^ tf.cast(replica, tf.int32), step])
            logits.append(self.forward(weights, part, encoder.seeded_dropout(seed)))
        return tf.concat(logits, axis=0)

    def layers_above(self, variable: tf.Variable) -> int:
        """Returns how far a variable is below the head: see `distilbert.layers_above`."""
        return distilbert.layers_above(variable, self._blocks_of_model)

    def train_step(self, data) -> dict:
        """Takes a step with any Keras optimizer; adds ``gradient_norm`` to the metrics.

        That is the global norm of the gradient, summed over all replicas and not clipped, or 0 if loss scaling
        skipped the step.
        """
        inputs, labels, weights = data
        with tf.GradientTape() as tape:
            logits = self(inputs, training=True)
            loss = self.compute_loss(inputs, labels, logits, weights)
        gradients = self.optimizer.compute_gradients(loss, self.trainable_variables, tape)
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # the optimizer below loss scaling
        gradients = [(_sum_repeated_rows(value), variable) for value, variable in inner.aggregate_gradients(gradients)]
        norm = tf.linalg.global_norm([value for value, _ in gradients])
        self.optimizer.apply_gradients(gradients, skip_gradients_aggregation=True)
        if inner is not self.optimizer:
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        return self.compute_metrics(inputs, labels, logits, weights) | {"gradient_norm": norm}


def _sum_repeated_rows(gradient):
    """Returns a gradient whose rows, if it is sparse, are distinct: its norm is then that of the dense gradient."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return tf.convert_to_tensor(gradient)  # the number of distinct rows is not a static shape
    rows, position = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, position, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def _split(inputs: dict, parts: int) -> list[dict]:
    """Splits a batch along the first axis into ``parts`` of nearly equal size."""
    if parts == 1:
        return [inputs]
    size = tf.shape(inputs["features"])[0]
    edges = [size * part // parts for part in range(parts + 1)]
    return [
        {name: tensor[start:stop] for name, tensor in inputs.items()}
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    ]
