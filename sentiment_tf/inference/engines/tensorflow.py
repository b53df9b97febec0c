"""Answers from a run's SavedModel; needs TensorFlow and tensorflow-text."""

import contextlib
import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.system import runtime

if TYPE_CHECKING:  # it loads TensorFlow
    from sentiment_tf.evaluation.attributions import Explanation

_REQUESTS_AT_ONCE = 2  # one is tokenized while the other keeps the cores busy


class SavedModelClassifier(classifier.Classifier):
    """A loaded SavedModel; see `classifier.Classifier`."""

    engine, precision = "tensorflow", "float32"

    def __init__(self, loaded, folder: Path):
        """Wraps what `tf.saved_model.load` returned from a folder; see `load`."""
        self._loaded = loaded  # its signatures borrow its variables
        self._folder = folder
        self._explainer: classifier.Classifier | None = None
        settings = loaded.settings()
        self.label_names = tuple(name.decode() for name in settings["label_names"].numpy())
        self.max_length = int(settings["max_length"])
        self.threshold = float(settings["threshold"]) if "threshold" in settings else None
        self._pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE)

    def begin(self, texts: Sequence[str | bytes]) -> Future:
        """Starts to answer one request."""
        return self._pool.submit(self.probabilities, texts)

    def probabilities(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request: float32[texts, classes]."""
        return self._loaded.signatures["serving_default"](text=_strings(texts))["probabilities"].numpy()

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request through the signature `tokens`, which pads a call to its longest text."""
        return classifier.logits_in_batches(self._tokens, self.tokenize(texts), classes=len(self.label_names))

    def logits_and_probabilities(self, texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Answers one request through both signatures: two float32[texts, classes]."""
        return self.logits(texts), self.probabilities(texts)

    def explain(self, texts: Sequence[str | bytes]) -> "list[Explanation]":
        """Explains with the weights in the run's folder for transformers; see `inference.engines.safetensors`.

        Raises:
          UserError: the run has no such folder, or one of another version of the model.
        """
        from sentiment_tf.inference.engines import safetensors

        self._explainer = self._explainer or safetensors.load(find_weights(self._folder))
        found = self._explainer.explain(texts)
        for each, probabilities in zip(found, self.probabilities(texts), strict=True):
            if np.abs(each.probabilities - probabilities).max() > classifier.SAME_MODEL:
                raise UserError(
                    f"--explain: {find_weights(self._folder)} holds another model than {self._folder}; "
                    "pass the run's newest version"
                )
        return found

    def tokenize(self, texts: Sequence[str | bytes]) -> list[list[int]]:
        """Returns the token ids of each text, [CLS] and [SEP] included."""
        tokens = self._loaded.tokenize(text=_strings(texts))
        rows = zip(tokens["input_ids"].numpy(), tokens["attention_mask"].numpy(), strict=True)
        return [ids[mask.astype(bool)].tolist() for ids, mask in rows]

    def _tokens(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        ids, mask = tf.constant(input_ids), tf.constant(attention_mask)
        return self._loaded.signatures["tokens"](input_ids=ids, attention_mask=mask)["logits"].numpy()


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
    if precision == "bfloat16":
        from sentiment_tf.inference.engines import safetensors

        return safetensors.load(folder, precision=precision)
    with contextlib.suppress(RuntimeError):  # a program that uses TensorFlow already keeps its own threads
        runtime.start()
    with runtime.quiet_stderr():
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 - registers the ops that the tokenizer in the graph consists of

        try:
            loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # whatever a damaged file makes the loader raise
            raise UserError(f"--model={path}: {folder} is not a whole SavedModel ({error}); export it again") from error
    if not {"serving_default", "tokens"} <= set(loaded.signatures) or not hasattr(loaded, "settings"):
        raise UserError(
            f"--model={path}: the SavedModel in {folder} was not written by sentiment_tf.train "
            f"(its signatures: {', '.join(loaded.signatures) or 'none'})"
        )
    return SavedModelClassifier(loaded, folder)


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


def find_weights(path: str | os.PathLike) -> Path:
    """Returns the folder for transformers of the run that `path` means: its own folder or one of its versions.

    Raises:
      UserError: there is none.
    """
    folder = Path(os.path.expanduser(path))
    for run in (folder, folder.parent):
        if (run / layout.HF_FOLDER / layout.HF_WEIGHTS).is_file():
            return run / layout.HF_FOLDER
    raise UserError(
        f"--explain: {folder} has no {layout.HF_FOLDER}/{layout.HF_WEIGHTS}, whose weights explanations need; "
        "pass a run whose --exports include hf"
    )


def _strings(texts: Sequence[str | bytes]):
    """Returns string[texts]; what Python could not decode (lone surrogates) is skipped, as the graph does."""
    import tensorflow as tf

    encoded = [text if isinstance(text, bytes) else text.encode("utf-8", "ignore") for text in texts]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])
