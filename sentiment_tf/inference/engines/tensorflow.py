"""Loads an exported SavedModel and answers from it; needs TensorFlow and tensorflow-text alone."""

import collections
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sentiment_tf.errors import UserError
from sentiment_tf.system import runtime

TEXTS_AT_ONCE = 512  # the graph sorts so many by length; memory and the delay of Ctrl-C grow with it
_REQUESTS_AT_ONCE = 2  # one is tokenized while the other keeps the cores busy


class SentimentModel:
    """A loaded export.

    Attributes:
      label_names: of the classes, in the order of their probabilities.
      max_length: tokens per text; what lies beyond is not read.
    """

    def __init__(self, loaded):
        """Wraps what `tf.saved_model.load` returned; see `load`."""
        self._loaded = loaded  # its signatures borrow its variables
        settings = loaded.settings()
        self.label_names = tuple(name.decode() for name in settings["label_names"].numpy())
        self.max_length = int(settings["max_length"])

    def predict(self, texts: Sequence[str | bytes]) -> tuple[list[str], np.ndarray]:
        """Answers any number of texts.

        Args:
          texts: of any length; bytes that are not UTF-8 are skipped.

        Returns:
          (label of each text, probabilities float32[texts, classes]).
        """
        requests = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
        probabilities = np.concatenate([np.zeros([0, len(self.label_names)], np.float32), *self.stream(requests)])
        return self.labels(probabilities), probabilities

    def stream(self, requests: Iterable[Sequence[str | bytes]]) -> Iterator[np.ndarray]:
        """Answers requests as they come, in their order, reading a few ahead.

        Args:
          requests: the texts of each; a request is held in memory as a whole.

        Yields:
          float32[texts, classes], the probabilities for one request.
        """
        pool, waiting = ThreadPoolExecutor(_REQUESTS_AT_ONCE), collections.deque()
        try:
            for texts in requests:
                waiting.append(pool.submit(self.probabilities, texts))
                if len(waiting) > _REQUESTS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C nobody wants the rest

    def probabilities(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request: float32[texts, classes]."""
        return self._loaded.signatures["serving_default"](text=_strings(texts))["probabilities"].numpy()

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request through the signature `tokens`: float32[texts, classes]."""
        return self._loaded.signatures["tokens"](**self._loaded.tokenize(text=_strings(texts)))["logits"].numpy()

    def labels(self, probabilities: np.ndarray) -> list[str]:
        """Names the likeliest class of each row of float32[texts, classes]."""
        return [self.label_names[best] for best in np.argmax(probabilities, axis=-1)]


def load(path: str | os.PathLike) -> SentimentModel:
    """Loads an export.

    Args:
      path: a run's folder (its newest version is taken), a version folder, or any SavedModel of ours.

    Raises:
      UserError: nothing is there, it is half-written, or it is some other SavedModel.
    """
    folder = find(path)
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
    return SentimentModel(loaded)


def find(path: str | os.PathLike) -> Path:
    """Returns the folder of the SavedModel that `path` means.

    Raises:
      UserError: there is none.
    """
    folder = Path(os.path.expanduser(path))
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


def _strings(texts: Sequence[str | bytes]):
    """Returns string[texts]; what Python could not decode (lone surrogates) is skipped, as the graph does."""
    import tensorflow as tf

    encoded = [text if isinstance(text, bytes) else text.encode("utf-8", "ignore") for text in texts]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])
