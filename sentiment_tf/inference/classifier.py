"""Texts → labels and probabilities: what every engine offers."""

import abc
import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import thresholds

if TYPE_CHECKING:  # it loads TensorFlow
    from sentiment_tf.evaluation.attributions import Explanation

SAME_MODEL = 5e-4  # difference of a probability, from one engine to another and by rounding to four digits
TEXTS_AT_ONCE = 512  # asked together and sorted by length; memory and the delay of Ctrl-C grow with it
_REQUESTS_AT_ONCE = 2  # one is tokenized while the other keeps the cores busy


class Answer(Protocol):
    """Probabilities to come."""

    def result(self) -> np.ndarray:
        """Waits for them: float32[texts, classes]."""

    def cancel(self) -> object:
        """Drops what has not begun."""


class Classifier(abc.ABC):
    """A loaded model, whatever library runs it.

    Attributes:
      label_names: of the classes, in the order of their probabilities.
      max_length: tokens per text; what lies beyond is not read.
      engine: name of the library that runs it.
      precision: of its arithmetic: float32, bfloat16 or int8.
      threshold: probability from which a text gets the second of two classes; None: the larger probability decides.
    """

    label_names: tuple[str, ...]
    max_length: int
    engine: str
    precision: str
    threshold: float | None = None

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
        waiting: collections.deque[Answer] = collections.deque()
        try:
            for texts in requests:
                waiting.append(self.begin(texts))
                if len(waiting) > _REQUESTS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for answer in waiting:  # after Ctrl-C nobody wants the rest
                answer.cancel()

    def explain(self, texts: Sequence[str | bytes]) -> "list[Explanation]":
        """Answers any number of texts with their reasons: how much each word spoke for the label.

        Gradients lead through the network's weights as TensorFlow holds them, so other engines cannot.

        Args:
          texts: of any length; what lies beyond `max_length` is not read.

        Returns:
          An `evaluation.attributions.Explanation` for each.

        Raises:
          UserError: this engine has no gradients, or the run lacks the folder that holds the weights.
        """
        raise UserError(
            f"--explain: --engine={self.engine} has no gradients; pass --engine=tensorflow, or in Python "
            'load(…, engine="tensorflow")'
        )

    def labels(self, probabilities: np.ndarray) -> list[str]:
        """Names the class that each row of float32[texts, classes] gets: the likeliest, or by the threshold."""
        return [self.label_names[number] for number in thresholds.decide(probabilities, self.threshold)]

    def probabilities(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request: float32[texts, classes]."""
        return self.begin(texts).result()

    @abc.abstractmethod
    def begin(self, texts: Sequence[str | bytes]) -> Answer:
        """Starts to answer one request."""

    @abc.abstractmethod
    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request before softmax: float32[texts, classes]."""


def as_text(text: str | bytes) -> str:
    """Returns a text without what is not UTF-8: bytes of other encodings, lone surrogates. The SavedModel does so."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    return text if text.isascii() else text.encode("utf-8", "ignore").decode()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits float32[texts, classes]; there may be no texts."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
