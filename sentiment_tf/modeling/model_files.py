"""The files in a pretrained model's folder."""

from pathlib import Path

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.system import small_files

SAFETENSORS, H5_WEIGHTS = "model.safetensors", "tf_model.h5"  # no other weights are read: pickles can run code
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
OTHER_FILES = (CONFIG, TOKENIZER_CONFIG, "tokenizer.json", "vocab.txt")


def weights_file(directory: str, name: str) -> Path:
    """Returns the file of weights in a model folder: model.safetensors, or else tf_model.h5.

    Raises:
      UserError: There is neither; ``name`` is the model as the user gave it.
    """
    for file in (SAFETENSORS, H5_WEIGHTS):
        if (path := Path(directory, file)).is_file():
            return path
    raise UserError(f"--model={name}: {directory} has neither {SAFETENSORS} nor {H5_WEIGHTS}; pass a model folder")


def read_config(directory: str, name: str) -> dict:
    """Returns the content of a model folder's config.json.

    Raises:
      UserError: There is none, or it is not a JSON object; ``name`` is the model as the user gave it.
    """
    try:
        return small_files.read_object(Path(directory, CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--model={name}: config.json cannot be read ({first_line(error)})") from error
