"""A stand-in for the fresh process that verifies exports, in this process: seconds less for each run of a test.

The process itself is in tests/exporting/test_verification.py, and in every test that runs a command in a process of its
own.
"""

import contextlib
from collections.abc import Iterator

import numpy as np

from sentiment_tf.exporting import formats
from sentiment_tf.exporting.verification import Answers


class VerifyingHere:
    """Loads each export from disk and answers from it, as `verification.FreshProcess` does.

    Args:
      texts: That every export is asked.
      sample: That int8 files are asked as well.
    """

    def __init__(self, texts, sample):
        self.texts, self.sample, self.models = list(texts), list(sample), {}

    def begin(self, name: str, precision: str, path) -> None:
        self.models[name, precision] = formats.by_name(name).load(path, precision=precision)

    def answers(self, name: str, precision: str) -> Answers:
        model = self.models[name, precision]
        logits, probabilities = model.logits_and_probabilities(self.texts)
        sample_logits = model.logits(self.sample) if precision == "int8" else np.zeros_like(logits[:0])
        return Answers(logits, probabilities, sample_logits)

    def speeds(self) -> dict[tuple[str, str], dict]:
        """Made-up speeds: measuring them is the process's work."""
        return dict.fromkeys(self.models, {"latency_ms": {"1": 1.0, "32": 9.0}, "texts_per_second": 100.0})


@contextlib.contextmanager
def fresh_process(texts, *, sample=()) -> Iterator[VerifyingHere]:
    """Takes the place of `verification.fresh_process`."""
    yield VerifyingHere(texts, sample)
