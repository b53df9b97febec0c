"""Text to token ids, for training; `exporting.graph_tokenizer` has the same rules as a graph, for the export."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

# Line breaks of web pages, which training and every export read as a space. RE2, Oniguruma (the tokenizers package) and
# JavaScript interpret this expression alike.
LINE_BREAK = r"<[bB][rR][\t\n\f\r ]*/?>"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
NAMED_TOKENS = (*SPECIAL_TOKENS, "[MASK]")

# Steps that `portable` puts before BertNormalizer.
_LINE_BREAKS_TO_SPACES = {"type": "Replace", "pattern": {"Regex": LINE_BREAK}, "content": " "}
# transformers.js lower-cases a text as a whole, and JavaScript then writes ς at the end of a word. The tokenizers
# package lower-cases each character on its own, to σ: for it this step changes nothing.
_SIGMA_TO_LOWER_CASE = {"type": "Replace", "pattern": {"String": "Σ"}, "content": "σ"}

Texts = Sequence[str]

TEXTS_AT_ONCE = 2_000  # bounds the memory of the tokenizer's own objects


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The token ids of many texts, one text after another, without padding.

    Attributes:
      ids: uint16[total], or int32[total] if the vocabulary is larger; each text as [CLS] … [SEP].
      offsets: int64[rows + 1]; text i is ``ids[offsets[i]:offsets[i + 1]]``.
      truncated: bool[rows], whether the text was longer than ``max_length``.
    """

    ids: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int32[rows], tokens of each text."""
        return np.diff(self.offsets).astype(np.int32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of ids and offsets; data sets with the same fingerprint are the same to the model."""
        digest = hashlib.sha256(self.ids.dtype.str.encode())
        digest.update(np.ascontiguousarray(self.ids).data)
        digest.update(np.ascontiguousarray(self.offsets).data)
        return digest.hexdigest()


def tokenize(tokenizer, texts: Texts, *, max_length: int) -> Tokens:
    """Tokenizes texts; longer ones are truncated, keeping the beginning and the final [SEP].

    Args:
      tokenizer: From `modeling.bert_tokenizer.load`.
      texts: Any sequence of str that supports slicing, such as a column of a data set.
      max_length: Maximum number of tokens per text, including [CLS] and [SEP].
    """
    made = list(batches(tokenizer, texts, max_length=max_length))
    ids = np.concatenate([*(ids for ids, _ in made), np.empty(0, dtype(tokenizer))])
    return of_lengths(ids, np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in made)]), max_length)


def batches(tokenizer, texts: Texts, *, max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the ids of `TEXTS_AT_ONCE` texts, one text after another, and int64[texts], their lengths.

    Ids are truncated to ``max_length`` tokens; a length of ``max_length + 1`` says that the text was longer. The
    tokenizer uses every core.
    """
    kind = dtype(tokenizer)
    tokenizer.no_padding()
    # One token more than needed distinguishes a longer text from one that fits exactly.
    tokenizer.enable_truncation(max_length=max_length + 1)
    tokenizer.encode_special_tokens = True
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        encodings = tokenizer.encode_batch_fast(list(texts[start : start + TEXTS_AT_ONCE]))
        rows = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        rows = [row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in rows]
        yield np.fromiter((token for row in rows for token in row), kind), lengths


def of_lengths(ids: np.ndarray, lengths: np.ndarray, max_length: int) -> Tokens:
    """Returns the tokens of the ids and lengths that `batches` yields."""
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, max_length), dtype=np.int64)])
    return Tokens(ids, offsets, lengths > max_length)


def dtype(tokenizer) -> type:
    """Returns the smallest dtype that holds every id of a tokenizer."""
    return np.uint16 if max(tokenizer.get_vocab().values()) <= np.iinfo(np.uint16).max else np.int32


def vocabulary(content: dict) -> list[str]:
    """Returns the word pieces of a tokenizer.json in the order of their ids.

    Ids without a word piece, as a word that stands twice in vocab.txt leaves one, get "[gap-…]", which no text matches.
    """
    tokens = {number: token for token, number in content["model"]["vocab"].items()}
    return [tokens.get(number, f"[gap-{number}]") for number in range(max(tokens) + 1)]


def portable(tokenizer) -> dict:
    """Returns a tokenizer.json that alone treats raw text as training does, except for truncation.

    Its normalizer replaces the line breaks of web pages by spaces, and Σ by σ if texts are lower-cased. It declares no
    added tokens, so a literal "[SEP]" in a text is text in every runtime, including those that do not know
    transformers' ``split_special_tokens``.

    Args:
      tokenizer: From `modeling.bert_tokenizer.load`.
    """
    return portable_content(json.loads(tokenizer.to_str()))


def portable_content(content: dict) -> dict:
    """Returns what `portable` makes of the content of a tokenizer.json."""
    bert = bert_normalizer(content)
    before = [_LINE_BREAKS_TO_SPACES] + [_SIGMA_TO_LOWER_CASE] * bert["lowercase"]
    normalizer = {"type": "Sequence", "normalizers": [*before, bert]}
    return content | {"added_tokens": [], "padding": None, "truncation": None, "normalizer": normalizer}


def bert_normalizer(content: dict) -> dict:
    """Returns the settings of the BertNormalizer in a tokenizer.json, which may follow `portable`'s own steps.

    Raises:
      ValueError: It has another normalizer; the message names it.
    """
    normalizer = content["normalizer"] or {"type": "None"}
    if normalizer["type"] == "Sequence":
        own = (_LINE_BREAKS_TO_SPACES, _SIGMA_TO_LOWER_CASE)
        steps = [step for step in normalizer["normalizers"] if step not in own]
        normalizer = steps[0] if len(steps) == 1 else normalizer
    if normalizer["type"] != "BertNormalizer":
        raise ValueError(normalizer["type"])
    return normalizer
