"""Finding a pretrained model: the packaged one, converted; a folder; or a download from the hub."""

import dataclasses
import os
import sys
from pathlib import Path

import huggingface_hub.utils
from huggingface_hub import errors

from sentiment_tf.data import packaged
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.modeling import model_files
from sentiment_tf.system import cache_folder


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


def _download(name: str, revision: str | None, offline: bool) -> ModelFiles:
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
    if not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    wanted = [*model_files.OTHER_FILES, model_files.SAFETENSORS]
    for files in (wanted, [*wanted, model_files.H5_WEIGHTS]):
        directory = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=files, local_files_only=offline
        )
        if os.path.exists(os.path.join(directory, model_files.SAFETENSORS)):
            break
    return directory
