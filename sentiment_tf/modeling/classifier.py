"""Loading TFDistilBertForSequenceClassification, and cutting it at a depth: trunk | tail."""

import dataclasses
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.config import PACKAGED_MODEL
from sentiment_tf.data import batching, packaged
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.modeling import encoder
from sentiment_tf.system.runtime import quiet_stderr

WEIGHT_FILES = ("model.safetensors", "tf_model.h5")  # never pickles, which can run code
CONFIG_AND_TOKENIZER_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt")
REFERENCE_BATCH = 32
FREE_OF_WEIGHT_DECAY = ("LayerNorm", "layer_norm", "bias")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """Where a model lies on disk and, for one from the hub, its resolved commit."""

    directory: str
    revision: str | None


class Tail(keras.Model):
    """What is trained: the top blocks and the head of a loaded model, over those very layers.

    Its variables are the loaded model's own; after ``fit`` the whole model is trained. The input is what
    the trunk left:

    * depth 0: the [CLS] vectors, float32[batch, D];
    * depth k below the number of blocks: hidden states [batch, tokens, D] and attention_mask int32[batch, tokens];
    * every block, or everything: token ids int32[batch, tokens] and attention_mask. The embeddings are
      looked up here, trained only for ``depth=None``.

    On a CPU a training batch runs as several parts in one graph, which share no operation until their
    gradients are added, so that each keeps a core busy without a barrier per operation.
    """

    def __init__(self, model, *, depth: int | None, compute_dtype: tf.DType, seed: int, parts: int):
        """Cuts ``model`` under its top ``depth`` blocks (None: under everything)."""
        super().__init__(name="tail")
        config = model.config
        blocks = model.distilbert.transformer.layer
        self.blocks = blocks if depth is None else blocks[len(blocks) - depth :]
        self.pre_classifier, self.classifier = model.pre_classifier, model.classifier
        if depth is None:
            self.embeddings = model.distilbert.embeddings
        self.takes_token_ids = depth is None or depth == len(blocks)
        self._read_embeddings = lambda: encoder.read_embeddings(model.distilbert.embeddings)
        self._embedding_rate = config.dropout if depth is None else 0.0  # the frozen part runs without dropout
        self._rates = encoder.DropoutRates(config.dropout, config.attention_dropout, config.seq_classif_dropout)
        self._heads, self._activation = config.n_heads, config.activation
        self.matmul_dtype = compute_dtype
        self._seed, self._parts, self._depth_of_network = seed, parts, len(blocks)
        self.evaluate_batch = tf.function(self.forward, reduce_retracing=True)

    def read_weights(self) -> encoder.Weights:
        """Returns the tail's weights, ready for `forward`; embeddings are None unless ids come in."""
        blocks = tuple(encoder.read_block(block, heads=self._heads) for block in self.blocks)
        return encoder.Weights(
            embeddings=self._read_embeddings() if self.takes_token_ids else None,
            blocks=encoder.cast_for_compute(blocks, self.matmul_dtype),
            head=encoder.read_head(self.pre_classifier, self.classifier),
        )

    def forward(self, weights: encoder.Weights, inputs: dict, dropout=encoder.no_dropout) -> tf.Tensor:
        """Returns float32[batch, classes], the logits, as a pure function of weights and inputs."""
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
            heads=self._heads,
            activation=self._activation,
            pooled=True,
            dropout=dropout,
            rates=self._rates,
        )
        return encoder.classify(weights.head, pooled, dropout=dropout, rate=self._rates.head)

    def call(self, inputs: dict, training: bool = False) -> tf.Tensor:
        """Returns float32[batch, classes]; in training with dropout, its masks a function of seed and step."""
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
        """Returns how far a variable lies below the head: 0 in it, 1 in the top block, … embeddings last."""
        if found := re.search(r"layer_\._(\d+)/", variable.name):
            return self._depth_of_network - int(found[1])
        return self._depth_of_network + 1 if "embeddings" in variable.name else 0

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


def find_model(name: str, *, revision: str | None, cache_dir: str, offline: bool) -> ModelFiles:
    """Returns the folder of a model: the packaged one converted, a local folder, or a download from the hub.

    Args:
      name: ``minilm-l6``, a folder, or a hub id.
      revision: commit, tag or branch; for the hub only.
      cache_dir: where the packaged model is converted to.
      offline: whether asking the hub is forbidden.

    Raises:
      UserError: the hub cannot be reached or does not have it.
    """
    if name == PACKAGED_MODEL:
        directory = Path(cache_dir) / "models" / PACKAGED_MODEL
        packaged.convert_minilm(directory)
        return ModelFiles(str(directory), None)
    if os.path.isdir(name):
        return ModelFiles(name, None)
    return _download(name, revision, offline)


def load_classifier(files: ModelFiles, *, label_names: tuple[str, ...], name: str, seed: int):
    """Loads a pretrained DistilBERT with a head for these labels; a head the checkpoint lacks is drawn by seed.

    Args:
      files: from `find_model`.
      label_names: one per class.
      name: as the user gave it, for errors.
      seed: of the head's initial weights.

    Returns:
      transformers.TFDistilBertForSequenceClassification, built.

    Raises:
      UserError: the folder holds no DistilBERT, no weights that are safe to read, or damaged ones.
    """
    with quiet_stderr():
        import transformers
    transformers.logging.set_verbosity_error()
    config = read_config(files, name)
    keras.utils.set_random_seed(seed)
    try:
        model, found = transformers.TFDistilBertForSequenceClassification.from_pretrained(
            files.directory,
            config=_with_labels(config, label_names),
            use_safetensors=os.path.exists(os.path.join(files.directory, WEIGHT_FILES[0])),
            ignore_mismatched_sizes=True,  # a checkpoint's own head may have another number of classes
            local_files_only=True,
            output_loading_info=True,
        )
    except tf.errors.OpError:  # another worker is gone: variables come from the chief
        raise
    except Exception as error:  # every reader below raises its own kind for a damaged file
        raise UserError(
            f"--model={name}: the weights cannot be read ({first_line(error)}); delete the copy and fetch it again"
        ) from error
    # What the file lacks was drawn at random, which is meant for the head alone; of h5 files dropout is told, too.
    lacking = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    if lacking := [key for key in lacking if "classifier" not in key and not key.startswith("dropout")]:
        raise UserError(
            f"--model={name}: its weights do not fit its config.json: {len(lacking)} are missing or of another shape, "
            f"such as {lacking[0]}; pass the folder of a whole DistilBERT"
        )
    return model


def reference_logits(model, tokens: Tokens) -> np.ndarray:
    """Returns float32[rows, classes] of the trained model itself, through transformers' own layers, dropout off."""
    most, order = int(tokens.lengths.max()), np.argsort(tokens.lengths)
    logits = np.empty((len(order), model.config.num_labels), np.float32)
    for start in range(0, len(order), REFERENCE_BATCH):
        rows = order[start : start + REFERENCE_BATCH]
        ids, mask = batching.pad(tokens.ids.astype(np.int32), tokens.offsets, rows, most=most)
        logits[rows] = model(ids, attention_mask=mask, training=False).logits.numpy()
    return logits


def frozen_weights(model, depth: int) -> Iterator[np.ndarray]:
    """Yields the arrays under the cut, in a fixed order, for a cache key."""
    blocks = model.distilbert.transformer.layer
    layers = [model.distilbert.embeddings, *blocks[: len(blocks) - depth]]
    return (variable.numpy() for layer in layers for variable in layer.weights)


def decayed(variable: tf.Variable) -> bool:
    """Returns whether AdamW's weight decay applies: not to biases and LayerNorm (as in BERT's own training)."""
    return not any(part in variable.name for part in FREE_OF_WEIGHT_DECAY)


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
    """Cuts a batch into ``parts`` of (nearly) equal size along the first axis."""
    if parts == 1:
        return [inputs]
    size = tf.shape(inputs["features"])[0]
    edges = [size * part // parts for part in range(parts + 1)]
    return [
        {name: tensor[start:stop] for name, tensor in inputs.items()}
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    ]


def read_config(files: ModelFiles, name: str):
    """Returns the transformers config of a model folder.

    Raises:
      UserError: the folder holds no weights that are safe to read, no DistilBERT, or a damaged config.json.
    """
    from transformers import AutoConfig

    directory = files.directory
    if not any(os.path.exists(os.path.join(directory, file)) for file in WEIGHT_FILES):
        raise UserError(f"--model={name}: {directory} has neither {' nor '.join(WEIGHT_FILES)}; pass a model folder")
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what is valid JSON with wrong content raises anything
        raise UserError(f"--model={name}: config.json cannot be read ({first_line(error)})") from error
    if config.model_type != "distilbert":
        raise UserError(f"--model={name}: this is a {config.model_type} model; pass a DistilBERT")
    if config.activation not in ("gelu", "relu"):
        raise UserError(f"--model={name}: its activation is {config.activation}; gelu and relu are supported")
    for size in ("n_layers", "n_heads", "dim", "hidden_dim", "max_position_embeddings", "vocab_size"):
        value = getattr(config, size)
        if type(value) is not int or value < 1:
            raise UserError(f"--model={name}: config.json has {size}={value!r}; it must be a whole number from 1")
    return config


def _with_labels(config, label_names: tuple[str, ...]):
    config.id2label = dict(enumerate(label_names))
    config.label2id = {label: number for number, label in enumerate(label_names)}
    config.num_labels = len(label_names)
    return config


def _download(name: str, revision: str | None, offline: bool) -> ModelFiles:
    import huggingface_hub.utils
    from huggingface_hub import errors

    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    offers = f"--model={PACKAGED_MODEL} works without it, and so does a model folder"
    allowed = [*CONFIG_AND_TOKENIZER_FILES, "model.safetensors"]
    try:
        try:
            directory = huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=allowed, local_files_only=offline
            )
            if not os.path.exists(os.path.join(directory, "model.safetensors")):
                directory = huggingface_hub.snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=[*allowed, "tf_model.h5"],
                    local_files_only=offline,
                )
        except errors.LocalEntryNotFoundError:
            if offline:
                raise UserError(
                    f"--model={name}: not on this machine, and --offline forbids the hub; {offers}"
                ) from None
            raise
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        revision = f" at --model_revision={revision}" if revision else ""
        raise UserError(f"--model={name}: neither a folder here nor a model on the hub{revision}") from error
    except (OSError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        raise UserError(f"--model={name}: the hub is out of reach ({first_line(error)}); {offers}") from error
    return ModelFiles(directory, Path(directory).name)
