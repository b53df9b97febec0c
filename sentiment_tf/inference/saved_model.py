"""A SavedModel, loaded: this module loads TensorFlow, TensorFlow Text and what explanations need."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops that the tokenizer in the graph consists of

from sentiment_tf.errors import UserError
from sentiment_tf.evaluation.attributions import Explanation
from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.inference.engines import safetensors
from sentiment_tf.system import runtime

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

    def explain(self, texts: Sequence[str | bytes]) -> list[Explanation]:
        """Explains with the weights in the run's folder for transformers; see `inference.engines.safetensors`.

        Raises:
          UserError: the run has no such folder, or one of another version of the model.
        """
        self._explainer = self._explainer or safetensors.load(layout.find_weights(self._folder))
        found = self._explainer.explain(texts)
        for each, probabilities in zip(found, self.probabilities(texts), strict=True):
            if np.abs(each.probabilities - probabilities).max() > classifier.SAME_MODEL:
                raise UserError(
                    f"--explain: {layout.find_weights(self._folder)} holds another model than {self._folder}; "
                    "pass the run's newest version"
                )
        return found

    def tokenize(self, texts: Sequence[str | bytes]) -> list[list[int]]:
        """Returns the token ids of each text, [CLS] and [SEP] included."""
        tokens = self._loaded.tokenize(text=_strings(texts))
        rows = zip(tokens["input_ids"].numpy(), tokens["attention_mask"].numpy(), strict=True)
        return [ids[mask.astype(bool)].tolist() for ids, mask in rows]

    def _tokens(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        ids, mask = tf.constant(input_ids), tf.constant(attention_mask)
        return self._loaded.signatures["tokens"](input_ids=ids, attention_mask=mask)["logits"].numpy()


def load(path, folder: Path) -> SavedModelClassifier:
    """Loads the SavedModel in a folder.

    Args:
      path: The model as the user gave it, for errors.
      folder: From `engines.tensorflow.find`.

    Raises:
      UserError: It is half-written, or some other SavedModel.
    """
    with runtime.quiet_stderr():
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


def _strings(texts: Sequence[str | bytes]):
    """Returns string[texts]; what Python could not decode (lone surrogates) is skipped, as the graph does."""
    encoded = [text if isinstance(text, bytes) else text.encode("utf-8", "ignore") for text in texts]
    return tf.constant(encoded, tf.string, shape=[len(encoded)])
