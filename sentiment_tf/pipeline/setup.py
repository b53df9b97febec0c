"""What training starts from: data → tokens → model → the freeze point and the features below it."""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tokenizers
import xxhash

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import loading, token_cache, tokenization
from sentiment_tf.data.registry import Depth
from sentiment_tf.distributed import strategies
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import (
    bert_tokenizer,
    distilbert,
    distilbert_settings,
    feature_cache,
    features,
    pretrained,
    trainable,
)
from sentiment_tf.modeling.features import Features
from sentiment_tf.modeling.pretrained import ModelFiles
from sentiment_tf.modeling.trainable import TrainableLayers
from sentiment_tf.pipeline import checks
from sentiment_tf.system.timing import Clock

if TYPE_CHECKING:
    from transformers import TFDistilBertForSequenceClassification

log = logging.getLogger("sentiment_tf")

TRAINING_SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class RunState:
    """What training starts from.

    Attributes:
      splits: Rows of each split.
      labels: By split, int32[rows].
      tokens: By split, token ids.
      tokenizer: The model's tokenizer.
      files: Where the pretrained model was found.
      strategy: How devices and workers share the work.
      model: The loaded classifier; training changes its weights.
      compute_dtype: Dtype of the trained layers' matrix multiplications.
      frozen_dtype: Dtype of the frozen layers' matrix multiplications for the training rows. All other rows are
        computed in ``compute_dtype``: what a run reports is then what its exports answer.
      checkpoints: Holds a folder for each training; None keeps none.
    """

    splits: loading.Splits
    labels: dict[str, np.ndarray]
    tokens: dict[str, tokenization.Tokens]
    tokenizer: tokenizers.Tokenizer
    files: ModelFiles
    strategy: tf.distribute.Strategy
    model: "TFDistilBertForSequenceClassification"
    compute_dtype: tf.DType
    frozen_dtype: tf.DType
    checkpoints: Path | None

    def frozen_dtype_of(self, split: str) -> tf.DType:
        """Returns the dtype of the frozen layers' matrix multiplications for a split."""
        return self.frozen_dtype if split == "train" else self.compute_dtype


@dataclasses.dataclass(frozen=True)
class Trainable:
    """What is trained at one depth: the layers above the freeze point, and by split what the frozen layers output."""

    model: TrainableLayers
    features: dict[str, Features]


def prepare(config: TrainConfig, splits: loading.Splits, clock: Clock, *, checkpoints: Path | None = None) -> RunState:
    """Rows → tokens → model.

    Args:
      config: Settings of the run.
      splits: From `launch.read`.
      clock: Times the run's steps.
      checkpoints: See `RunState`.
    """
    labels = {split: loading.label_array(rows).astype(np.int32) for split, rows in splits.rows.items()}
    with clock.step("tokens") as said:
        files = pretrained.find_model(
            config.model, revision=config.model_revision, cache_dir=config.cache_dir, offline=config.offline
        )
        settings = distilbert_settings.read(files.directory, config.model)
        if problems := checks.limit_problems(config, **settings.limits):  # new only for a model on the hub
            raise UserError(*problems)
        tokenizer = bert_tokenizer.load(files.directory, name=config.model, vocabulary_size=settings.vocab_size)
        tokens = {split: _tokenize(config, tokenizer, splits, split) for split in splits.rows}
        said += [_truncation(split, tokens[split], config.max_length) for split in tokens]

    with clock.step("model") as said:
        strategy = strategies.make_strategy(
            config.strategy, batch_size=config.batch_size, startup_timeout=config.startup_timeout
        )
        trained, frozen = strategies.compute_dtype(config.precision), strategies.frozen_dtype(config.precision)
        model = load_model(config, files, splits, strategy)
        said.append(f"{config.model}: {model.config.num_hidden_layers} blocks; matmuls in {trained.name}")
        said += [f"frozen layers of training rows in {frozen.name}"] if frozen != trained else []
    return RunState(splits, labels, tokens, tokenizer, files, strategy, model, trained, frozen, checkpoints)


def _tokenize(config: TrainConfig, tokenizer, splits: loading.Splits, split: str) -> tokenization.Tokens:
    return token_cache.tokenize(
        tokenizer,
        splits.rows[split]["text"],
        max_length=config.max_length,
        fingerprint=splits.source["fingerprint"][split],
        cache_dir=config.cache_dir if config.cache == "on" else None,
    )


def load_model(
    config: TrainConfig, files: ModelFiles, splits: loading.Splits, strategy: tf.distribute.Strategy
) -> "TFDistilBertForSequenceClassification":
    """Returns the pretrained classifier; a head that it lacks is drawn by ``config.seed``."""
    with strategy.scope():
        return distilbert.load_classifier(
            files.directory, label_names=splits.label_names, name=config.model, seed=config.seed
        )


def freeze(
    config: TrainConfig,
    state: RunState,
    depth: Depth,
    *,
    only: Collection[str] | None = None,
    also: Sequence[int] = (),
) -> Trainable:
    """Freezes the layers below the top ``depth`` blocks and computes their output once.

    Args:
      config: Settings of the run.
      state: What the run starts from.
      depth: How much of the model is trained.
      only: Splits whose features are needed; None computes those of all splits.
      also: Depths that will be trained later. The same pass computes their features if the disk has room.
    """
    of_split = features.compute(
        state.model,
        state.tokens,
        depth=depth,
        compute_dtype=state.compute_dtype,
        train_dtype=state.frozen_dtype,
        max_length=config.max_length,
        cache_dir=config.cache_dir if config.cache == "on" else None,
        strategy=state.strategy,
        least_width=config.least_width,
        only=only,
        also=dict.fromkeys(TRAINING_SPLITS, also),
    )
    if config.cache == "on":
        feature_cache.keep_in_bounds(config.cache_dir, config.cache_limit)
    return Trainable(make_trainable(config, state, depth), of_split)


def make_trainable(config: TrainConfig, state: RunState, depth: Depth) -> TrainableLayers:
    """Returns the trainable layers as a Keras model; nothing is computed."""
    strategy = state.strategy
    with strategy.scope():
        parts = trainable.parts(config.batch_size // strategy.num_replicas_in_sync)
        return TrainableLayers(
            state.model, depth=depth, compute_dtype=state.compute_dtype, seed=config.seed, parts=parts
        )


def fingerprints(state: RunState) -> dict[str, str]:
    """Returns digests of the data and the weights, which settings only name."""
    found = {}
    for split, tokens in state.tokens.items():
        labels = xxhash.xxh3_128_hexdigest(state.labels[split].tobytes())
        found[f"the {split} rows"] = f"{tokens.fingerprint}-{labels}"
    digest = xxhash.xxh3_128()
    for weight in state.model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return found | {"the model's weights": digest.hexdigest()}


def _truncation(split: str, tokens: tokenization.Tokens, max_length: int) -> str:
    """Returns how many texts of a split were truncated, as a phrase for the log."""
    truncated, rows = int(tokens.truncated.sum()), len(tokens.truncated)
    return f"{split}: {truncated:,} of {rows:,} texts cut at {max_length} tokens"
