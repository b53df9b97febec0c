"""The tokenizer of BERT's family: loading it, and refusing settings that the exports cannot follow."""

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from sentiment_tf.data import tokenization
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.modeling import model_files
from sentiment_tf.system import small_files

CLASSES = (
    "BertTokenizer",
    "BertTokenizerFast",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "PreTrainedTokenizerFast",  # the name says nothing; what the tokenizer does is checked
)


def load(directory: str, *, name: str, vocabulary_size: int) -> tokenizers.Tokenizer:
    """Loads the tokenizer of a model folder.

    What transformers' DistilBertTokenizerFast makes of the same files gives the same ids. A literal "[SEP]" in a review
    is four pieces of text, not a separator (transformers' ``split_special_tokens``): a user's text cannot forge the
    model's control tokens, and every export reads it the same way.

    Args:
      directory: The model folder, with vocab.txt or tokenizer.json.
      name: The model as the user gave it, for errors.
      vocabulary_size: Number of token ids that the model knows.

    Raises:
      UserError: There is no tokenizer, it belongs to another model, or the exports cannot follow its settings.
    """
    try:
        settings = _read_settings(Path(directory))
        tokenizer = _read_tokenizer(Path(directory), settings)
        tokenizer.no_padding()  # a tokenizer.json may pad every text
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        ids = tokenizer.get_vocab(with_added_tokens=False)
        fits = max(ids.values()) < vocabulary_size  # else writing its content down takes time without end
        unsupported = _unsupported_setting(settings) or (_unsupported(tokenizer) if fits else None)
    except Exception as error:  # each kind of damage raises its own
        raise UserError(
            f"--model={name}: {directory} has no tokenizer that can be read ({first_line(error)}); "
            "put its vocab.txt or tokenizer.json there"
        ) from error
    if unsupported:
        raise UserError(
            f"--model={name}: its tokenizer has {unsupported}, which the export does not support; "
            "pass a model with BERT's own tokenizer settings"
        )
    if problem := _vocabulary_problem(ids, vocabulary_size):
        raise UserError(f"--model={name}: its tokenizer {problem}; put the model's own vocab.txt there")
    return tokenizer


def _vocabulary_problem(ids: dict[str, int], vocabulary_size: int) -> str | None:
    """Returns why a vocabulary is not that of a model with so many words, or None."""
    if missing := [token for token in tokenization.SPECIAL_TOKENS if token not in ids]:
        return f"lacks {', '.join(missing)}"
    if max(ids.values()) >= vocabulary_size:
        return f"has more words than the model's {vocabulary_size:,}"
    return "gives two words the same id" if len(set(ids.values())) < len(ids) else None


def _read_settings(directory: Path) -> dict:
    path = directory / model_files.TOKENIZER_CONFIG
    return small_files.read_object(path) if path.exists() else {}


def _read_tokenizer(directory: Path, settings: dict) -> tokenizers.Tokenizer:
    """Makes a tokenizer of a model folder's tokenizer.json, or else of its vocab.txt.

    Raises:
      Exception: There is no such file, or it is no regular file, larger than any tokenizer, or damaged.
    """
    whole, words = (directory / file for file in ("tokenizer.json", "vocab.txt"))
    if whole.exists():
        small_files.check_size(whole, most=small_files.LARGEST_TOKENIZER)
        tokenizer = tokenizers.Tokenizer.from_file(str(whole))
        if isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
            tokenizer.normalizer = _normalizer(settings, clean_text=tokenizer.normalizer.clean_text)
        return tokenizer
    lines = small_files.check_size(words, most=small_files.LARGEST_TOKENIZER).read_text(encoding="utf-8").split("\n")
    ids = {word: number for number, word in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer(settings, clean_text=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, ids.get(token, 0)) for token in ("[CLS]", "[SEP]")]  # a vocabulary without them is refused later
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _normalizer(settings: dict, *, clean_text: bool) -> normalizers.BertNormalizer:
    """Returns the normalizer that tokenizer_config.json asks for; BERT's uncased one where it says nothing."""
    return normalizers.BertNormalizer(
        clean_text=clean_text,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )


def _unsupported_setting(settings: dict) -> str | None:
    """Returns what a tokenizer_config.json asks for beyond BERT's tokenizer, or None."""
    if (kind := settings.get("tokenizer_class")) not in (None, *CLASSES):
        return f"tokenizer_class={kind}"
    added = [token["content"] for token in settings.get("added_tokens_decoder", {}).values() if not token["special"]]
    return f"the added token {added[0]!r}" if added else None


def _unsupported(tokenizer: tokenizers.Tokenizer) -> str | None:
    """Returns the first setting that `exporting.graph_tokenizer` does not follow, or None."""
    content = json.loads(tokenizer.to_str())
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
    return _unsupported_after_normalizer(tokenizer, content)


def _unsupported_after_normalizer(tokenizer: tokenizers.Tokenizer, content: dict) -> str | None:
    """Returns the first setting of the steps after the normalizer that is not BERT's, or None."""
    words = content["pre_tokenizer"] or {"type": "None"}
    if words["type"] != "BertPreTokenizer":
        return f"the pre_tokenizer {words['type']}"
    model = content["model"]
    kind = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    if other := [name for name, value in kind.items() if model.get(name, value) != value]:
        return f"the model with {other[0]}={model[other[0]]}"
    if model.get("max_input_chars_per_word", 100) != 100:
        return f"the model with max_input_chars_per_word={model['max_input_chars_per_word']}"
    ends = tokenizer.encode("")
    # It has ids of its own for both. A vocabulary that lacks them is refused later.
    known = [model["vocab"].get(token, number) for token, number in zip(ends.tokens, ends.ids, strict=True)]
    if ends.tokens != ["[CLS]", "[SEP]"] or ends.ids != known:
        return "a post_processor other than [CLS] text [SEP]"
    added = [token["content"] for token in content["added_tokens"] if not token["special"]]
    return f"the added token {added[0]!r}" if added else None
