"""What ONNX Runtime and OpenVINO share: the tokenizer, and batches of like length."""

from pathlib import Path

import common
import numpy as np
import tokenizers


def tokenizer_of(arguments) -> tokenizers.Tokenizer:
    """Returns the model's fast tokenizer, which cuts and pads."""
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(arguments.model) / "tokenizer.json"))
    tokenizer.enable_truncation(arguments.max_length)
    tokenizer.no_padding()
    return tokenizer


def classify(tokenizer: tokenizers.Tokenizer, infer, texts: list[str]) -> np.ndarray:
    """Returns a class number for each text; see `in_batches`."""
    return in_batches(tokenizer, infer, texts).argmax(axis=-1)


def in_batches(tokenizer: tokenizers.Tokenizer, infer, texts: list[str]) -> np.ndarray:
    """Returns what ``infer`` gives for each text: tokenized at once, sorted by length, in batches of 64.

    Args:
      tokenizer: from `tokenizer_of`.
      infer: (input_ids, attention_mask: int64[batch, length]) -> float32[batch, …].
      texts: any number.
    """
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    answers = [None] * len(texts)
    for rows in common.by_length([len(row) for row in ids]):
        shape = [len(rows), max(len(ids[row]) for row in rows)]
        padded, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for place, row in enumerate(rows):
            padded[place, : len(ids[row])], mask[place, : len(ids[row])] = ids[row], 1
        for row, answer in zip(rows, infer(padded, mask), strict=True):
            answers[row] = answer
    return np.stack(answers)
