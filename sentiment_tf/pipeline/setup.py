"""What training starts from: data → tokens → model → the cut, and the features below it."""

import dataclasses
import json
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

TOKENIZER_CLASSES = (
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "PreTrainedTokenizerFast",  # says nothing of its kind; its normalizer does
)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    splits: loading.Splits
    labels: dict[str, np.ndarray]  # split → int32[rows]
    tokens: dict[str, tokenization.Tokens]
    tokenizer: object
    files: object  # modeling.classifier.ModelFiles
    strategy: object  # tf.distribute.Strategy
    model: object  # TFDistilBertForSequenceClassification
    compute_dtype: object  # tf.DType of the matmuls
    checkpoints: Path | None  # a folder per training; None keeps none


@dataclasses.dataclass(frozen=True)
class Cut:
    """The model cut at a depth."""

    tail: object  # modeling.classifier.Tail
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
        from sentiment_tf.modeling import classifier

    with clock.step("tokens") as said:
        files = classifier.find_model(
            config.model, revision=config.model_revision, cache_dir=config.cache_dir, offline=config.offline
        )
        model_config = classifier.read_config(files, config.model)
        problems = limit_problems(config, blocks=model_config.n_layers, positions=model_config.max_position_embeddings)
        if problems:  # of a model on the hub; of others they are told with those of the flags
            raise UserError(*problems)
        tokenizer = _load_tokenizer(config, files.directory, vocabulary=model_config.vocab_size)
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
            model = classifier.load_classifier(
                files, label_names=splits.label_names, name=config.model, seed=config.seed
            )
        said.append(f"{config.model}: {model.config.n_layers} blocks; matmuls in {compute_dtype.name}")
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
    """Returns the modeling.classifier.Tail above the cut; nothing is computed."""
    from sentiment_tf.modeling import classifier

    strategy = prepared.strategy
    with strategy.scope():
        parts = runtime.parts(config.batch_size // strategy.num_replicas_in_sync)
        return classifier.Tail(
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


def _load_tokenizer(config: TrainConfig, folder: str, *, vocabulary: int):
    """Loads the model's tokenizer.

    Raises:
      UserError: there is none, it is not that of a model with so many words, or the export can't do as it does.
    """
    try:
        tokenizer = tokenization.load_tokenizer(folder)
        ids = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)  # what is lacking is added silently
        unsupported = _unsupported(tokenizer, Path(folder))
    except Exception as error:  # each kind of damage raises its own
        raise UserError(
            f"--model={config.model}: {folder} has no tokenizer that can be read ({type(error).__name__}); "
            "put its vocab.txt or tokenizer.json there"
        ) from error
    if unsupported:
        raise UserError(
            f"--model={config.model}: its tokenizer has {unsupported}, which the export does not support; "
            "pass a DistilBERT with BERT's own tokenizer settings"
        )
    lacking = [token for token in tokenization.SPECIAL_TOKENS if token not in ids]
    if lacking or max(ids.values()) >= vocabulary:
        reason = f"lacks {', '.join(lacking)}" if lacking else f"has more words than the model's {vocabulary:,}"
        raise UserError(f"--model={config.model}: its tokenizer {reason}; put the model's own vocab.txt there")
    return tokenizer


def _unsupported(tokenizer, folder: Path) -> str | None:
    """Returns the setting that data.graph_tokenization does not follow, if there is one."""
    declared = folder / "tokenizer_config.json"
    kind = json.loads(declared.read_text(encoding="utf-8")).get("tokenizer_class") if declared.exists() else None
    if kind not in (None, *TOKENIZER_CLASSES):
        return f"tokenizer_class={kind}"
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    try:
        normalizer = tokenization.bert_normalizer(content)
    except ValueError as other:
        return f"the normalizer {other}"
    if not normalizer["clean_text"]:
        return "clean_text=false"
    if not normalizer["handle_chinese_chars"]:
        return "tokenize_chinese_chars=false"
    if normalizer["strip_accents"] not in (None, normalizer["lowercase"]):
        lower_case, strip_accents = (json.dumps(normalizer[name]) for name in ("lowercase", "strip_accents"))
        return f"do_lower_case={lower_case} with strip_accents={strip_accents}"
    return _unsupported_beyond_normalizer(tokenizer, content)


def _unsupported_beyond_normalizer(tokenizer, content: dict) -> str | None:
    """Returns what is not as in BERT's tokenizer behind its normalizer, or None."""
    words = content["pre_tokenizer"] or {"type": "None"}
    if words["type"] != "BertPreTokenizer":
        return f"the pre_tokenizer {words['type']}"
    model = content["model"]
    kind = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    if other := [name for name, value in kind.items() if model.get(name, value) != value]:
        return f"the model with {other[0]}={model[other[0]]}"
    if model.get("max_input_chars_per_word", 100) != 100:
        return f"the model with max_input_chars_per_word={model['max_input_chars_per_word']}"
    backend = tokenizer.backend_tokenizer
    if backend.encode("").tokens != ["[CLS]", "[SEP]"]:
        return "a post_processor other than [CLS] text [SEP]"
    added = [token["content"] for token in content["added_tokens"] if not token["special"]]
    return f"the added token {added[0]!r}" if added else None


def _truncation(split: str, tokens: tokenization.Tokens, max_length: int) -> str:
    """Says how many texts of a split were cut."""
    cut, rows = int(tokens.truncated.sum()), len(tokens.truncated)
    return f"{split}: {cut:,} of {rows:,} texts cut at {max_length} tokens"
