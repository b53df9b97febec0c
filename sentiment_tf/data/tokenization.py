"""Text to token ids, for training; `graph_tokenization` holds the same rules as a graph, for the export."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np

# What web pages leave in reviews; training and every export read it as a space. Written so that RE2, Oniguruma (the
# tokenizers package) and JavaScript's regular expressions mean the same by it.
LINE_BREAK = r"<[bB][rR][\t\n\f\r ]*/?>"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
NAMED_TOKENS = (*SPECIAL_TOKENS, "[MASK]")

# Steps that `portable` puts before BertNormalizer.
_LINE_BREAKS_TO_SPACES = {"type": "Replace", "pattern": {"Regex": LINE_BREAK}, "content": " "}
# transformers.js lower-cases a text as a whole, and JavaScript then writes ς at the end of a word. The tokenizers
# package lower-cases each character on its own, to σ: for it this step changes nothing.
_SIGMA_TO_LOWER_CASE = {"type": "Replace", "pattern": {"String": "Σ"}, "content": "σ"}

TEXTS_AT_ONCE = 2_000  # bounds the memory of the tokenizer's own objects


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The token ids of many texts, one after another, without padding.

    Attributes:
      ids: uint16[total] (int32 where the vocabulary is larger), each text as [CLS] … [SEP].
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
        """SHA-256 of ids and offsets: two data sets with the same one are the same to the model."""
        digest = hashlib.sha256(self.ids.dtype.str.encode())
        digest.update(np.ascontiguousarray(self.ids).data)
        digest.update(np.ascontiguousarray(self.offsets).data)
        return digest.hexdigest()


def load_tokenizer(directory: str):
    """Loads the fast tokenizer of a model folder.

    A literal "[SEP]" in a review is four pieces of text, not a separator (``split_special_tokens``): a
    user's text cannot forge the model's control tokens, and the exported graph reads it the same way.

    Args:
      directory: holds vocab.txt or tokenizer.json.

    Returns:
      ``transformers.DistilBertTokenizerFast``.
    """
    from transformers import DistilBertTokenizerFast, logging

    logging.set_verbosity_error()  # a BERT tokenizer under DistilBERT's name is the same tokenizer
    return DistilBertTokenizerFast.from_pretrained(directory, split_special_tokens=True)


def tokenize(tokenizer, texts: Sequence[str], *, max_length: int) -> Tokens:
    """Tokenizes texts; those over ``max_length`` keep their beginning and the closing [SEP].

    Args:
      tokenizer: from `load_tokenizer`.
      texts: any sequence of str that slices, such as a column of a data set.
      max_length: tokens per text at most, [CLS] and [SEP] included.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    # One token more than wanted tells a text that was cut from one that fits exactly.
    backend.enable_truncation(max_length=max_length + 1)
    backend.encode_special_tokens = True
    dtype = np.uint16 if len(tokenizer) <= np.iinfo(np.uint16).max else np.int32
    ids, lengths = [], []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        encodings = backend.encode_batch_fast(list(texts[start : start + TEXTS_AT_ONCE]))
        rows = [encoding.ids for encoding in encodings]
        lengths += map(len, rows)
        rows = [row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in rows]
        ids.append(np.fromiter((token for row in rows for token in row), dtype))
    lengths = np.asarray(lengths, np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, max_length))])
    return Tokens(np.concatenate([*ids, np.empty(0, dtype)]), offsets, lengths > max_length)


def vocabulary(tokenizer) -> list[str]:
    """Returns the tokens in the order of their ids."""
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def lower_cases(tokenizer) -> bool:
    """Returns whether a tokenizer lower-cases texts and strips their accents."""
    return bert_normalizer(json.loads(tokenizer.backend_tokenizer.to_str()))["lowercase"]


def portable(tokenizer) -> dict:
    """Returns the content of a tokenizer.json that does alone what training does to raw text, cutting excepted.

    Line breaks of web pages become spaces in its normalizer, where Σ becomes σ too if texts are lower-cased. It
    declares no added tokens: a literal "[SEP]" in a text is text in every runtime, also in those that do not know
    transformers' ``split_special_tokens``.

    Args:
      tokenizer: from `load_tokenizer`.
    """
    return portable_content(json.loads(tokenizer.backend_tokenizer.to_str()))


def portable_content(content: dict) -> dict:
    """Returns what `portable` makes of the content of a tokenizer.json."""
    bert = bert_normalizer(content)
    before = [_LINE_BREAKS_TO_SPACES] + [_SIGMA_TO_LOWER_CASE] * bert["lowercase"]
    normalizer = {"type": "Sequence", "normalizers": [*before, bert]}
    return content | {"added_tokens": [], "padding": None, "truncation": None, "normalizer": normalizer}


def bert_normalizer(content: dict) -> dict:
    """Returns the settings of BertNormalizer in a tokenizer.json, which may stand behind `portable`'s steps.

    Raises:
      ValueError: the normalizer is another one; the message names it.
    """
    normalizer = content["normalizer"] or {"type": "None"}
    if normalizer["type"] == "Sequence":
        own = (_LINE_BREAKS_TO_SPACES, _SIGMA_TO_LOWER_CASE)
        steps = [step for step in normalizer["normalizers"] if step not in own]
        normalizer = steps[0] if len(steps) == 1 else normalizer
    if normalizer["type"] != "BertNormalizer":
        raise ValueError(normalizer["type"])
    return normalizer
