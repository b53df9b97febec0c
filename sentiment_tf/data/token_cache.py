"""Token ids on disk: memory-mapped, and tokenized once for each data set, tokenizer and length."""

import hashlib
import importlib.metadata
import json
import logging
import shutil
from pathlib import Path

import numpy as np

from sentiment_tf.data import tokenization
from sentiment_tf.data.tokenization import Texts, Tokens
from sentiment_tf.system import cache_folder, disk

FOLDER = "tokens"

log = logging.getLogger("sentiment_tf")


def tokenize(tokenizer, texts: Texts, *, max_length: int, fingerprint: str, cache_dir: str | None) -> Tokens:
    """Returns what `tokenization.tokenize` returns, from the cache if it is there.

    Args:
      tokenizer: From `modeling.bert_tokenizer.load`.
      texts: Texts.
      max_length: Maximum number of tokens per text, including [CLS] and [SEP].
      fingerprint: A digest of the texts.
      cache_dir: Folder of the cache; None tokenizes in memory and keeps nothing.

    Raises:
      UserError: The cache cannot be written.
    """
    if cache_dir is None:
        return tokenization.tokenize(tokenizer, texts, max_length=max_length)
    folder = Path(cache_dir) / FOLDER / _key(tokenizer, max_length, fingerprint)
    found = _open(folder)
    if found is None:
        with cache_folder.reported(cache_dir):
            folder.parent.mkdir(parents=True, exist_ok=True)
            disk.delete_leftovers(folder.parent)
            _write(folder, tokenizer, texts, max_length)
        found = _open(folder)
    return found or tokenization.tokenize(tokenizer, texts, max_length=max_length)


def _key(tokenizer, max_length: int, fingerprint: str) -> str:
    code = Path(tokenization.__file__).read_text(encoding="utf-8")
    version = importlib.metadata.version("tokenizers")
    named = [code, version, tokenizer.to_str(), max_length, fingerprint]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]


def _write(folder: Path, tokenizer, texts: Texts, max_length: int) -> None:
    """Tokenizes in constant memory, except for 4 bytes per text."""
    lengths, dtype = [], tokenization.dtype(tokenizer)
    with disk.atomic_folder(folder) as building:
        with open(building / "ids", "wb") as file:
            for ids, of_texts in tokenization.batches(tokenizer, texts, max_length=max_length):
                file.write(ids.astype(dtype, copy=False).data)
                lengths.append(of_texts.astype(np.int32))
        np.save(building / "lengths.npy", np.concatenate([np.empty(0, np.int32), *lengths]))
        record = {"max_length": max_length, "dtype": np.dtype(dtype).name} | _checksums(building)
        (building / "tokens.json").write_text(json.dumps(record))


def _open(folder: Path) -> Tokens | None:
    """Returns the tokens of an entry; None if it is missing, or damaged and removed."""
    if not cache_folder.hold(folder):
        return None
    try:
        record = json.loads((folder / "tokens.json").read_text())
        if record != record | _checksums(folder):
            raise ValueError("checksum")
        lengths = np.load(folder / "lengths.npy")
        dtype, max_length = np.dtype(record["dtype"]), record["max_length"]
        ids = np.memmap(folder / "ids", dtype, "r") if len(lengths) else np.empty(0, dtype)
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("%s: damaged; tokenizing again", folder)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return tokenization.of_lengths(ids, lengths, max_length)


def _checksums(folder: Path) -> dict[str, str]:
    return {name: disk.checksum(folder / name) for name in ("ids", "lengths.npy")}
