"""What training starts from: data → tokens → model → the cut, and the features below it."""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import xxhash

from sentiment_tf.config import TrainConfig, limit_problems
from sentiment_tf.data import loading, tokenization
from sentiment_tf.errors import UserError
from sentiment_tf.system import runtime
from sentiment_tf.system.timing import Clock

log = logging.getLogger("sentiment_tf")

TRAINING_SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    splits: loading.Splits
    labels: dict[str, np.ndarray]  # split → int32[rows]
    tokens: dict[str, tokenization.Tokens]
    tokenizer: object
    files: object  # modeling.model_files.ModelFiles
    strategy: object  # tf.distribute.Strategy
    model: object  # TFDistilBertForSequenceClassification
    compute_dtype: object  # tf.DType of the matmuls
    checkpoints: Path | None  # a folder per training; None keeps none


@dataclasses.dataclass(frozen=True)
class Cut:
    """The model cut at a depth."""

    tail: object  # modeling.trainable.TrainableLayers
    features: dict  # split → modeling.features.Features


def prepare(config: TrainConfig, clock: Clock, *, checkpoints: Path | None = None) -> Prepared:
    """Data → tokens → model."""
    with clock.step("data") as said:
        splits = loading.load(config.data, seed=config.seed, limit=config.limit)
        said += [f"{len(rows):,} {split}" for split, rows in splits.rows.items()]
    for note in splits.notes:
        log.info("  %s", note)
    labels = {split: loading.label_array(rows).astype(np.int32) for split, rows in splits.rows.items()}

    with clock.step("start"):  # after the data: a mistake there is told before TensorFlow loads
        runtime.start(deterministic=config.deterministic)
        from sentiment_tf.distributed import strategies
        from sentiment_tf.modeling import distilbert, model_files

    with clock.step("tokens") as said:
        files = model_files.find_model(
            config.model, revision=config.model_revision, cache_dir=config.cache_dir, offline=config.offline
        )
        settings = distilbert.read_settings(files.directory, config.model)
        if problems := limit_problems(config, **settings.limits):  # of a model on the hub; others were checked before
            raise UserError(*problems)
        tokenizer = distilbert.load_tokenizer(files.directory, name=config.model, vocabulary_size=settings.vocab_size)
        tokens = {
            split: tokenization.tokenize(tokenizer, rows["text"], max_length=config.max_length)
            for split, rows in splits.rows.items()
        }
        said += [_truncation(split, tokens[split], config.max_length) for split in tokens]

    with clock.step("model") as said:
        strategy = strategies.make_strategy(
            config.strategy, batch_size=config.batch_size, startup_timeout=config.startup_timeout
        )
        compute_dtype = strategies.compute_dtype(config.precision)
        with strategy.scope():
            model = distilbert.load_classifier(
                files.directory, label_names=splits.label_names, name=config.model, seed=config.seed
            )
        said.append(f"{config.model}: {model.config.num_hidden_layers} blocks; matmuls in {compute_dtype.name}")
    return Prepared(splits, labels, tokens, tokenizer, files, strategy, model, compute_dtype, checkpoints)


def cut(
    config: TrainConfig,
    prepared: Prepared,
    depth: int | None,
    *,
    only: Collection[str] | None = None,
    also: Sequence[int] = (),
) -> Cut:
    """Cuts the model under its top ``depth`` blocks (None: under everything) and runs what is below, once.

    Args:
      config: of the run.
      prepared: what the run starts from.
      depth: blocks above the cut.
      only: splits whose features are needed; None for all.
      also: depths that will be trained later; on its way the trunk keeps what that needs, if the disk has room.
    """
    from sentiment_tf.modeling import features

    tail = make_tail(config, prepared, depth)
    of_split = features.compute(
        prepared.model,
        prepared.tokens,
        depth=depth,
        compute_dtype=prepared.compute_dtype,
        max_length=config.max_length,
        cache_dir=config.cache_dir if config.cache == "on" else None,
        strategy=prepared.strategy,
        least_width=config.least_width,
        only=only,
        also=dict.fromkeys(TRAINING_SPLITS, also),
    )
    return Cut(tail, of_split)


def make_tail(config: TrainConfig, prepared: Prepared, depth: int | None):
    """Returns the modeling.trainable.TrainableLayers above the cut; nothing is computed."""
    from sentiment_tf.modeling.trainable import TrainableLayers

    strategy = prepared.strategy
    with strategy.scope():
        parts = runtime.parts(config.batch_size // strategy.num_replicas_in_sync)
        return TrainableLayers(
            prepared.model, depth=depth, compute_dtype=prepared.compute_dtype, seed=config.seed, parts=parts
        )


def fingerprints(prepared: Prepared) -> dict[str, str]:
    """Returns a digest of everything that training starts from and that a setting only names."""
    found = {}
    for split, tokens in prepared.tokens.items():
        labels = xxhash.xxh3_128_hexdigest(prepared.labels[split].tobytes())
        found[f"the {split} rows"] = f"{tokens.fingerprint}-{labels}"
    digest = xxhash.xxh3_128()
    for weight in prepared.model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return found | {"the model's weights": digest.hexdigest()}


def _truncation(split: str, tokens: tokenization.Tokens, max_length: int) -> str:
    """Says how many texts of a split were cut."""
    cut, rows = int(tokens.truncated.sum()), len(tokens.truncated)
    return f"{split}: {cut:,} of {rows:,} texts cut at {max_length} tokens"
