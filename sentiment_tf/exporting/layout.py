"""Names of the files that an export consists of; those who write and those who read agree on them here.

Imports no library: an engine that runs without TensorFlow reads it, too.
"""

import os
from pathlib import Path

from sentiment_tf.errors import UserError

LITERT_FOLDER = "litert"  # in a run's folder
LITERT_FILES = {"float32": "model.tflite", "int8": "model_int8.tflite"}  # by precision
LITERT_CONFIG = "config.json"
TOKENIZER = "tokenizer.json"

HF_FOLDER = "hf"
HF_CONFIG = "config.json"
HF_WEIGHTS = "model.safetensors"

ONNX_FOLDER = "hf/onnx"  # where transformers.js looks, under the names that it looks for
ONNX_FILES = {"float32": "model.onnx", "int8": "model_quantized.onnx"}


def find_weights(path: str | os.PathLike) -> Path:
    """Returns the folder for transformers of the run that `path` means: its own folder or one of its versions.

    Raises:
      UserError: there is none.
    """
    folder = Path(os.path.expanduser(path))
    for run in (folder, folder.parent):
        if (run / HF_FOLDER / HF_WEIGHTS).is_file():
            return run / HF_FOLDER
    raise UserError(
        f"--explain: {folder} has no {HF_FOLDER}/{HF_WEIGHTS}, whose weights explanations need; "
        "pass a run whose --exports include hf"
    )
