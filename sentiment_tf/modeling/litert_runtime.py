"""How this package runs a LiteRT file on a CPU: without TensorFlow, and without padding.

Each call holds texts of equal length, and a few hundred tokens, so that what a layer computes stays in a core's cache.
Each core has an interpreter with one thread and calls of its own: threads that share a call wait for each other at
every operation.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

TOKENS_PER_CALL = 256
MOST_INTERPRETERS = 8  # each holds a copy of the weights, arranged for the processor; more cores help inside a call


def interpreters_and_threads(cores: int) -> tuple[int, int]:
    """Returns how many interpreters work side by side, and the threads of each."""
    interpreters = min(cores, MOST_INTERPRETERS)
    return interpreters, cores // interpreters


def calls(lengths: npt.ArrayLike) -> list[np.ndarray]:
    """Groups texts of equal length into calls, the longest first: the last call to end is short.

    Args:
      lengths: int[texts], tokens of each text.

    Returns:
      int64[texts] row numbers of each call.
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    found = []
    for length, group in itertools.groupby(order, key=sizes.__getitem__):
        rows, size = np.fromiter(group, np.int64), max(TOKENS_PER_CALL // max(int(length), 1), 1)
        found += [rows[start : start + size] for start in range(0, len(rows), size)]
    return found


class Interpreter:
    """A LiteRT interpreter over a file of `litert_network`; for one thread at a time."""

    def __init__(self, model: Path, *, threads: int, outputs: Sequence[str]):
        """Opens the file.

        Args:
          model: The .tflite file.
          threads: The threads of one call.
          outputs: Names of the outputs to return.

        Raises:
          ValueError, RuntimeError: The file is damaged, or has other inputs and outputs.
        """
        from ai_edge_litert import interpreter  # which has no builds for some machines

        self._interpreter = interpreter.Interpreter(str(model), num_threads=threads)
        signature = self._interpreter.get_signature_list()["serving_default"]
        if (signature["inputs"], sorted(signature["outputs"])) != (["input_ids"], sorted(outputs)):
            raise ValueError(f"its inputs are {signature['inputs']}, its outputs {signature['outputs']}")
        details = self._interpreter.get_signature_runner("serving_default").get_output_details()
        self._outputs = [details[name]["index"] for name in outputs]
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._shape: tuple[int, ...] | None = None

    def __call__(self, input_ids: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs for int32[texts, length]."""
        if input_ids.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, input_ids.shape)
            self._interpreter.allocate_tensors()
            self._shape = input_ids.shape
        self._interpreter.set_tensor(self._input, input_ids)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
