"""Proves a SavedModel: a fresh process loads it from disk and must answer as the trained model does."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_TIMED_CALLS = {1: 30, 32: 5}  # texts per call → calls


@contextlib.contextmanager
def fresh_process() -> Iterator[subprocess.Popen]:
    """Yields a process that loads TensorFlow, which takes seconds, while the caller still writes the export."""
    command = [sys.executable, "-m", "sentiment_tf.exporting.verification"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def verify(
    process: subprocess.Popen,
    directory: str | os.PathLike,
    *,
    texts: Sequence[str],
    expected_logits: np.ndarray,
    tolerance: float = 1e-4,
) -> dict:
    """Compares both signatures of an export with the trained model.

    Args:
      process: a `fresh_process`; it answers once.
      directory: the version folder.
      texts: that both are asked; real ones and odd ones.
      expected_logits: float32[texts, classes], the trained model's, calibrated.
      tolerance: the largest difference of a logit or a probability that passes.

    Returns:
      {"largest_difference", "bytes" (of all files), "latency_ms": {"1": median, "32": median}}.

    Raises:
      RuntimeError: the answers differ by more than `tolerance`, or the fresh process fails.
    """
    answer = _ask(process, directory, texts)
    differences = largest_differences(answer, np.asarray(expected_logits, np.float64))
    worst = int(np.argmax(differences))
    if not differences[worst] <= tolerance:  # a NaN is a difference, too
        raise RuntimeError(
            f"the SavedModel in {directory} answers other than the trained model: by {differences[worst]:.2g}, "
            f"where {tolerance:.2g} is allowed, for the text {texts[worst][:80]!r}"
        )
    return {
        "largest_difference": float(differences[worst]),
        "bytes": sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file()),
        "latency_ms": answer["latency_ms"],
    }


def largest_differences(answer: dict, expected_logits: np.ndarray) -> np.ndarray:
    """Compares logits, and probabilities with what the expected logits come to.

    Args:
      answer: {"logits", "probabilities"} of the export.
      expected_logits: float[texts, classes].

    Returns:
      float[texts], the largest difference of any number of a text.
    """
    expected = _softmax(expected_logits)
    return np.maximum(
        np.abs(np.asarray(answer["logits"]) - expected_logits), np.abs(np.asarray(answer["probabilities"]) - expected)
    ).max(axis=1)


def _ask(process: subprocess.Popen, directory: str | os.PathLike, texts: Sequence[str]) -> dict:
    printed, errors = process.communicate(json.dumps({"directory": str(directory), "texts": list(texts)}))
    if process.returncode:
        raise RuntimeError(f"the SavedModel in {directory} does not answer:\n{errors}")
    return json.loads(printed.splitlines()[-1])


def _answer() -> None:
    """The fresh process: reads a question on stdin, prints the answer on stdout."""
    from sentiment_tf.inference.engines import tensorflow as saved_model
    from sentiment_tf.system import runtime

    runtime.start()
    import tensorflow_text  # noqa: F401  what loading needs, before there is anything to load

    question = json.load(sys.stdin)
    model = saved_model.load(question["directory"])
    texts = question["texts"]
    answer = {
        # `tokens` pads a call to its longest text: a few texts at a time
        "logits": [
            row for start in range(0, len(texts), 32) for row in model.logits(texts[start : start + 32]).tolist()
        ],
        "probabilities": model.probabilities(texts).tolist(),
        "latency_ms": {str(size): _latency(model, texts[:size], calls) for size, calls in _TIMED_CALLS.items()},
    }
    print(json.dumps(answer))


def _latency(model, texts: Sequence[str], calls: int) -> float:
    """Returns the median time of a call in milliseconds."""
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        model.probabilities(texts)
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds) * 1000, 2)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


if __name__ == "__main__":
    _answer()
