"""Answers from a run's SavedModel; needs TensorFlow and tensorflow-text, which are loaded with the model."""

import contextlib
import importlib.util
import os
from pathlib import Path

from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.system import runtime


def installed() -> bool:
    """Returns whether the packages are there."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow", "tensorflow_text"))


def load(path: str | os.PathLike, *, precision: str = "float32") -> classifier.Classifier:
    """Loads an export.

    Args:
      path: a run's folder (its newest version is taken), a version folder, or any SavedModel of ours.
      precision: "float32"; with "bfloat16" the weights in the run's folder for transformers are taken, because a
        SavedModel holds its precision in its graph.

    Raises:
      UserError: nothing is there, it is half-written, or it is some other SavedModel.
    """
    if not installed():
        runtime.check_platform()
        raise UserError("--engine=tensorflow: is not installed; run: pip install tensorflow tensorflow-text")
    folder = find(path, precision=precision)
    if precision == "float32":
        with contextlib.suppress(RuntimeError):  # a program that uses TensorFlow already keeps its own threads
            runtime.start()
    with runtime.quiet_stderr():
        from sentiment_tf.inference import saved_model  # loads TensorFlow
    if precision == "bfloat16":
        return saved_model.safetensors.load(folder, precision=precision)
    return saved_model.load(path, folder)


def find(path: str | os.PathLike, *, precision: str = "float32") -> Path:
    """Returns the folder of the SavedModel that `path` means; for bfloat16 that of the weights for transformers.

    Raises:
      UserError: there is none.
    """
    folder = Path(os.path.expanduser(path))
    if precision == "bfloat16" and (folder / layout.HF_FOLDER / layout.HF_WEIGHTS).is_file():
        return folder / layout.HF_FOLDER
    if precision == "bfloat16" and folder.is_dir():
        raise UserError(
            f"--precision=bfloat16: {folder} has no {layout.HF_FOLDER}/{layout.HF_WEIGHTS}; pass the folder of a run "
            "whose --exports include hf"
        )
    if not folder.is_dir():
        raise UserError(f"--model={path}: no such folder; pass a run of sentiment_tf.train, as in saved_models/sst2")
    versions = [version for version in folder.iterdir() if version.name.isdecimal() and version.is_dir()]
    newest = max(versions, key=lambda version: int(version.name), default=folder)
    for candidate in (folder, newest):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise UserError(
        f"--model={path}: holds no SavedModel (neither saved_model.pb nor a folder 1 with it); "
        "pass a finished run of sentiment_tf.train"
    )


def files(folder: Path, *, precision: str) -> list[Path]:
    """Returns the files of a folder from `find` that answers depend on."""
    if precision == "bfloat16":
        names = (layout.HF_CONFIG, layout.HF_WEIGHTS, layout.TOKENIZER, "tokenizer_config.json")
        return [folder / name for name in names]
    variables = (folder / "variables").glob("*")  # assets, as the vocabulary, are in the graph
    return [folder / "saved_model.pb", *sorted(variables)]
