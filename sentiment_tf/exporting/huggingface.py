"""The model folder that transformers, transformers.js, text-embeddings-inference and optimum read.

The tokenizer is written as one tokenizer.json that holds all of its behaviour, for a generic tokenizer class: each
runtime then does what training did, and none rebuilds a tokenizer from settings of its own.
"""

import json
import os
from pathlib import Path

import safetensors.numpy

from sentiment_tf.data import tokenization
from sentiment_tf.modeling import distilbert


def write(directory: str | os.PathLike, *, model, tokenizer, max_length: int, temperature: float = 1.0) -> None:
    """Writes config.json, model.safetensors (PyTorch's names and layout) and the tokenizer's files.

    Args:
      directory: made here.
      model: the trained transformers.TFDistilBertForSequenceClassification.
      tokenizer: from `distilbert.load_tokenizer`.
      max_length: tokens per text that the model was trained with, [CLS] and [SEP] included.
      temperature: folded into the classifier's weights, so that softmax of the logits is calibrated.
    """
    folder = Path(directory)
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", distilbert.pytorch_config(model))
    weights = distilbert.pytorch_weights(model, temperature=temperature)
    # Not save_file, which makes a file for this user alone, whatever the umask says.
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(weights, metadata={"format": "pt"}))
    _write_tokenizer(folder, tokenizer, max_length)


def _write_tokenizer(folder: Path, tokenizer, max_length: int) -> None:
    content = tokenization.portable(tokenizer)
    _write_json(folder / "tokenizer.json", content)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it stands, in transformers 4 and 5
        "clean_up_tokenization_spaces": False,
        "do_lower_case": tokenization.bert_normalizer(content)["lowercase"],
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_length,
        "split_special_tokens": True,
    }
    names = tokenization.vocabulary(tokenizer)
    named = {f"{name.strip('[]').lower()}_token": name for name in tokenization.NAMED_TOKENS if name in names}
    _write_json(folder / "tokenizer_config.json", settings | named)
    (folder / "vocab.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
