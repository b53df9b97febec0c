"""Texts → labels and probabilities: what every engine offers."""

import abc
import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sentiment_tf.data import batching
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import thresholds
from sentiment_tf.system import runtime

if TYPE_CHECKING:  # it loads TensorFlow
    from sentiment_tf.evaluation.attributions import Explanation

SAME_MODEL = 5e-4  # difference of a probability, from one engine to another and by rounding to four digits
TEXTS_AT_ONCE = 512  # asked together and sorted by length; memory and the delay of Ctrl-C grow with it
_TOKENS_AT_ONCE = 1024  # of a batch: its intermediate results stay in one core's cache
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
      label_names: the classes' names, in the order of their probabilities.
      max_length: tokens per text; what lies beyond is not read.
      engine: name of the library that runs it.
      precision: how it computes: float32, bfloat16 or int8.
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
          texts: texts of any length; bytes that are not UTF-8 are skipped.

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
          texts: texts of any length; what lies beyond `max_length` is not read.

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

    def logits_and_probabilities(self, texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Answers one request: two float32[texts, classes]. An engine that computes each apart asks for both."""
        logits = self.logits(texts)
        return logits, softmax(logits)

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


def logits_in_batches(
    logits_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    rows: Sequence[Sequence[int]],
    *,
    classes: int,
    workers: int | None = None,
) -> np.ndarray:
    """Answers a request as batches of texts of like length, several side by side.

    Args:
      logits_of: (input_ids, attention_mask: int32[batch, length]) → float32[batch, classes].
      rows: Token ids of each text.
      classes: Number of classes.
      workers: Batches side by side; None: as many as there are cores.

    Returns:
      float32[texts, classes].
    """

    def answer(members: list[int]) -> np.ndarray:
        return logits_of(*batching.pad_ids([rows[member] for member in members]))

    logits = np.empty([len(rows), classes], np.float32)
    batches = batching.by_tokens([len(row) for row in rows], _TOKENS_AT_ONCE)
    for members, found in zip(
        batches, runtime.side_by_side(answer, batches, workers=workers or runtime.cores()), strict=True
    ):
        logits[members] = found
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits float32[texts, classes]; there may be no texts."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
