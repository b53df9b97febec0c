"""A pretrained model's folder: the packaged one converted, a local one, or a download from the hub; and its files."""

import dataclasses
import os
import sys
from pathlib import Path

from sentiment_tf.data import packaged
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.system import cache_folder, small_files

SAFETENSORS, H5_WEIGHTS = "model.safetensors", "tf_model.h5"  # no other weights are read: pickles can run code
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
OTHER_FILES = (CONFIG, TOKENIZER_CONFIG, "tokenizer.json", "vocab.txt")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model's folder and, for a model from the hub, its resolved commit."""

    directory: str
    revision: str | None


def find_model(name: str, *, revision: str | None, cache_dir: str, offline: bool) -> ModelFiles:
    """Returns the folder of a model, converted or downloaded first if necessary.

    Args:
      name: ``minilm-l6``, a folder, or a hub id.
      revision: Commit, tag or branch; for the hub only.
      cache_dir: Folder for the converted packaged model.
      offline: Whether to use only what is on this machine.

    Raises:
      UserError: The hub cannot be reached or does not have the model.
    """
    if name == packaged.MODEL:
        directory = Path(cache_dir) / "models" / packaged.MODEL
        packaged.convert_minilm(directory)
        cache_folder.hold(directory)
        return ModelFiles(str(directory), None)
    if os.path.isdir(name):
        return ModelFiles(name, None)
    return _download(name, revision, offline)


def weights_file(directory: str, name: str) -> Path:
    """Returns the file of weights in a model folder: model.safetensors, or else tf_model.h5.

    Raises:
      UserError: There is neither; ``name`` is the model as the user gave it.
    """
    for file in (SAFETENSORS, H5_WEIGHTS):
        if (path := Path(directory, file)).is_file():
            return path
    raise UserError(f"--model={name}: {directory} has neither {SAFETENSORS} nor {H5_WEIGHTS}; pass a model folder")


def check_h5(path: Path, name: str) -> None:
    """Checks that a file of weights in HDF5 refers to no other file: a link in it may name any on this machine.

    Raises:
      UserError: A part of it is in another file; ``name`` is the model as the user gave it.
    """
    import h5py  # for old checkpoints only

    def link_outside(key, link) -> str | None:
        return key if isinstance(link, h5py.ExternalLink) else None

    def data_outside(key, item) -> str | None:
        return key if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual) else None

    with h5py.File(path) as file:
        outside = file.visititems_links(link_outside) or file.visititems(data_outside)
    if outside:
        raise UserError(
            f"--model={name}: {outside} of {path.name} is in another file; pass a model with all its weights"
        )


def read_config(directory: str, name: str) -> dict:
    """Returns the content of a model folder's config.json.

    Raises:
      UserError: There is none, or it is not a JSON object; ``name`` is the model as the user gave it.
    """
    try:
        return small_files.read_object(Path(directory, CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--model={name}: config.json cannot be read ({first_line(error)})") from error


def _download(name: str, revision: str | None, offline: bool) -> ModelFiles:
    from huggingface_hub import errors  # takes time to load; flags are checked without it

    offers = f"--model={packaged.MODEL} works without it, and so does a model folder"
    try:
        directory = _snapshot(name, revision, offline)
    except errors.LocalEntryNotFoundError as error:
        if offline:
            raise UserError(f"--model={name}: not on this machine, and --offline forbids the hub; {offers}") from None
        raise UserError(f"--model={name}: the hub is out of reach ({first_line(error)}); {offers}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        revision = f" at --model_revision={revision}" if revision else ""
        raise UserError(f"--model={name}: neither a folder here nor a model on the hub{revision}") from error
    except (OSError, errors.HfHubHTTPError) as error:
        raise UserError(f"--model={name}: the hub is out of reach ({first_line(error)}); {offers}") from error
    return ModelFiles(directory, Path(directory).name)


def _snapshot(name: str, revision: str | None, offline: bool) -> str:
    """Downloads the files that are read, and no others; tf_model.h5 only if there is no model.safetensors."""
    import huggingface_hub.utils

    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    wanted = [*OTHER_FILES, SAFETENSORS]
    for files in (wanted, [*wanted, H5_WEIGHTS]):
        directory = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=files, local_files_only=offline
        )
        if os.path.exists(os.path.join(directory, SAFETENSORS)):
            break
    return directory
