"""The model folder that transformers, transformers.js, text-embeddings-inference and optimum read.

The tokenizer is written as one tokenizer.json that holds all of its behaviour, for a generic tokenizer class: each
runtime then does what training did, and none rebuilds a tokenizer from settings of its own.
"""

import json
import os
from pathlib import Path

import safetensors.numpy

from sentiment_tf.data import tokenization
from sentiment_tf.exporting.bundle import Bundle


def write(bundle: Bundle, directory: str | os.PathLike) -> None:
    """Writes config.json, model.safetensors (PyTorch's names and layout) and the tokenizer's files.

    Args:
      bundle: the trained model.
      directory: such as `<run>/hf`; must not exist.

    Raises:
      FileExistsError: the folder is there already.
    """
    folder = Path(directory)
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", _config(bundle))
    # Not save_file, which makes a file for this user alone, whatever the umask says.
    content = safetensors.numpy.save(bundle.named_weights, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)
    _write_tokenizer(bundle, folder)


def _config(bundle: Bundle) -> dict:
    """Returns config.json's content: the network's settings and the names of its classes."""
    return (
        bundle.network
        | bundle.decision
        | {
            "id2label": {str(number): name for number, name in enumerate(bundle.label_names)},
            "label2id": {name: number for number, name in enumerate(bundle.label_names)},
            "problem_type": "single_label_classification",
            "torch_dtype": "float32",  # transformers 4's name of the setting
            "dtype": "float32",
        }
    )


def _write_tokenizer(bundle: Bundle, folder: Path) -> None:
    _write_json(folder / "tokenizer.json", bundle.tokenizer)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it stands, in transformers 4 and 5
        "clean_up_tokenization_spaces": False,
        "do_lower_case": bundle.lower_case,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": bundle.max_length,
        "split_special_tokens": True,
    }
    names = bundle.vocabulary
    named = {f"{name.strip('[]').lower()}_token": name for name in tokenization.NAMED_TOKENS if name in names}
    _write_json(folder / "tokenizer_config.json", settings | named)
    (folder / "vocab.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
