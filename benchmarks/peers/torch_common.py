"""PyTorch's side of loading, freezing, batching and answering."""

import contextlib
import os
from typing import NamedTuple

import common

os.environ["USE_TF"] = "0"  # else transformers loads TensorFlow too, which would count as PyTorch's memory
import torch
import transformers


class Loaded(NamedTuple):
    """A classifier, its tokenizer, and the dtype of its matmuls."""

    model: transformers.DistilBertForSequenceClassification
    tokenizer: transformers.DistilBertTokenizerFast
    precision: str


def load(arguments) -> Loaded:
    """Reads model and tokenizer; a head is drawn by seed."""
    transformers.logging.set_verbosity_error()
    transformers.set_seed(arguments.seed)
    model = transformers.DistilBertForSequenceClassification.from_pretrained(arguments.model, num_labels=2)
    if arguments.precision == "bfloat16_weights":
        model.to(torch.bfloat16)
    tokenizer = transformers.DistilBertTokenizerFast.from_pretrained(arguments.model)
    return Loaded(model.eval(), tokenizer, arguments.precision)


def frozen_parts(model, depth: int | None) -> list[torch.nn.Module]:
    """Returns the modules under the top ``depth`` blocks."""
    blocks = model.distilbert.transformer.layer
    return [] if depth is None else [model.distilbert.embeddings, *blocks[: len(blocks) - depth]]


def freeze(model, depth: int | None) -> None:
    """Turns gradients off under the top ``depth`` blocks."""
    for part in frozen_parts(model, depth):
        part.requires_grad_(False)


def autocast(precision: str) -> contextlib.AbstractContextManager:
    """Returns bf16 autocast, or nothing."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def tokenize(tokenizer, texts: list[str]) -> list[list[int]]:
    """Returns each text's ids, [CLS] and [SEP] included."""
    return tokenizer(texts, truncation=True, max_length=common.MAX_LENGTH)["input_ids"]


def pad(ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """Returns one batch's input_ids and attention_mask, as wide as its longest text."""
    lengths = torch.tensor([len(row) for row in ids])
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    return {"input_ids": padded, "attention_mask": mask}


@torch.inference_mode()
def classify(loaded: Loaded, texts: list[str]) -> list[int]:
    """Returns a class number for each text: tokenized at once, sorted by length, in batches."""
    loaded.model.eval()
    ids = tokenize(loaded.tokenizer, texts)
    answers = [0] * len(texts)
    for rows in common.by_length([len(row) for row in ids]):
        with autocast(loaded.precision):
            logits = loaded.model(**pad([ids[row] for row in rows])).logits
        for row, answer in zip(rows, logits.float().softmax(-1).argmax(-1).tolist(), strict=True):
            answers[row] = answer
    return answers
