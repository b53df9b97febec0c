"""Proves exports: a fresh process loads each of them from disk, and must answer as the trained model does.

The process starts while the files are still being written, and answers about each as soon as it is there. Speeds are
measured at the end, when nothing else computes.
"""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_tf.exporting import formats
from sentiment_tf.system import runtime

TOLERANCE = 1e-4  # of a logit or probability, in float32
_TIMED_CALLS = {1: 9, 32: 2}  # texts per call → calls
_TIMED_TEXTS = 96


@dataclasses.dataclass(frozen=True)
class Answers:
    """What an export answered.

    Attributes:
      logits: float32[texts, classes].
      probabilities: float32[texts, classes].
      sample_logits: float32[sampled texts, classes], of an int8 file; else float32[0, classes].
    """

    logits: np.ndarray
    probabilities: np.ndarray
    sample_logits: np.ndarray


class FreshProcess:
    """A process that answers from exports as users' processes will."""

    def __init__(self, process: subprocess.Popen, folder: Path, errors):
        """Wraps a started process; see `fresh_process`."""
        self._process, self._folder, self._errors = process, folder, errors

    def begin(self, name: str, precision: str, path: Path) -> None:
        """Asks it to load a format's file and to answer the texts; returns at once."""
        self._say({"format": name, "precision": precision, "path": str(path)})

    def answers(self, name: str, precision: str) -> Answers:
        """Waits for the answers that were asked for with `begin`, in the order in which they were.

        Raises:
          RuntimeError: the process failed; its traceback is in the message.
        """
        self._hear(name)
        with np.load(self._folder / f"{name}-{precision}.npz") as arrays:
            return Answers(**arrays)

    def speeds(self) -> dict[tuple[str, str], dict]:
        """Measures what has been loaded; nothing else should compute meanwhile.

        Returns:
          By (format, precision): "latency_ms", the median of a call by number of texts, and "texts_per_second".
        """
        self._say({"measure": True})
        measured = self._hear("exports")["speeds"]
        return {(row.pop("format"), row.pop("precision")): row for row in measured}

    def _say(self, question: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # the answer that does not come says why
            print(json.dumps(question), file=self._process.stdin, flush=True)

    def _hear(self, name: str) -> dict:
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise RuntimeError(f"the {name} export does not answer in a fresh process:\n{answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return self._errors.read()


@contextlib.contextmanager
def fresh_process(texts: Sequence[str], *, sample: Sequence[str] = ()) -> Iterator[FreshProcess]:
    """Yields a process that loads TensorFlow, which takes seconds, while the caller still writes the exports.

    Args:
      texts: what every format is asked; real texts and odd ones.
      sample: what int8 files are asked as well, to compare their accuracy.
    """
    with tempfile.TemporaryDirectory(prefix="sentiment_tf-") as folder, tempfile.TemporaryFile("w+") as errors:
        Path(folder, "texts.json").write_text(json.dumps({"texts": list(texts), "sample": list(sample)}))
        command = [sys.executable, "-m", "sentiment_tf.exporting.verification", folder]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        process = subprocess.Popen(command, **pipes, text=True, encoding="utf-8")
        try:
            yield FreshProcess(process, Path(folder), errors)
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # what was written and not read
                    pipe.close()
            process.wait()


def problem(differences: np.ndarray, texts: Sequence[str], *, name: str) -> str | None:
    """Returns what is wrong with an export in float32, or None where it gives the trained model's answers.

    Args:
      differences: float[texts], from `largest_differences`.
      texts: what was asked.
      name: the format's name.
    """
    worst = int(np.argmax(differences))
    if differences[worst] <= TOLERANCE:  # a NaN is a difference, too
        return None
    return (
        f"the output of the {name} export differs from the trained model's by {differences[worst]:.2g} "
        f"(tolerance {TOLERANCE:.2g}), for the text {texts[worst][:80]!r}"
    )


def largest_differences(answers: Answers, expected_logits: np.ndarray) -> np.ndarray:
    """Returns float64[texts]: the largest difference of any logit or probability of each text.

    Args:
      answers: an export's.
      expected_logits: float32[texts, classes], the trained model's, calibrated.
    """
    expected_logits = np.asarray(expected_logits, np.float64)
    of_logits = np.abs(answers.logits - expected_logits)
    of_probabilities = np.abs(answers.probabilities - _softmax(expected_logits))
    return np.maximum(of_logits, of_probabilities).max(axis=1)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _serve(folder: Path) -> None:
    """The fresh process: answers the questions on stdin, one a line, on stdout."""
    runtime.start()
    import tensorflow_text  # noqa: F401  what loading a SavedModel needs, before there is one to load

    content = json.loads((folder / "texts.json").read_text())
    models = {}
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _reply(question, content, models, folder)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


def _reply(question: dict, content: dict, models: dict, folder: Path) -> dict:
    if "measure" in question:
        speeds = [
            {"format": name, "precision": kind} | _speed(model, content["texts"])
            for (name, kind), model in models.items()
        ]
        return {"speeds": speeds}
    name, precision = question["format"], question["precision"]
    model = models[name, precision] = formats.by_name(name).load(question["path"], precision=precision)
    _answer(
        model, content["texts"], content["sample"] if precision == "int8" else [], folder / f"{name}-{precision}.npz"
    )
    return {}


def _answer(model, texts: list[str], sample: list[str], path: Path) -> None:
    logits, probabilities = model.logits_and_probabilities(texts)
    np.savez(path, logits=logits, probabilities=probabilities, sample_logits=model.logits(sample))


def _speed(model, texts: Sequence[str]) -> dict:
    """Returns median milliseconds of a call, and texts a second of many in one call."""
    latency = {str(size): _milliseconds(model, texts[:size], calls) for size, calls in _TIMED_CALLS.items()}
    many = texts[:_TIMED_TEXTS]
    return {"latency_ms": latency, "texts_per_second": round(1000 * len(many) / _milliseconds(model, many, 1), 1)}


def _milliseconds(model, texts: Sequence[str], calls: int) -> float:
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        model.probabilities(texts)
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds) * 1000, 2)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
