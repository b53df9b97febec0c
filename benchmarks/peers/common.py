"""What every measured program shares: its flags, what is inside the clock, and the line of JSON it prints.

Training: inside the clock is everything from raw texts in memory to trained weights, which is tokenizing,
features, building trainer, optimizer and graphs, and every training step. Outside are imports, reading the
rows, reading the model's and tokenizer's files, and the scoring of the held-out rows.

A pass over texts (a forward pass, a prediction): the same program first does an eighth of the work, unmeasured.

Standard library only: this runs in the project's environment and in the peers'.
"""

import argparse
import importlib.metadata
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BATCH_SIZE = 32  # of training
FORWARD_BATCH_SIZE = 64
MAX_LENGTH = 128  # tokens a text is cut to, where an item does not say otherwise
LABEL_NAMES = ("NEGATIVE", "POSITIVE")
ONE_BY_ONE = 50  # texts that are asked alone, for the latency
SKIPPED_STEPS = 5  # at the start of training, for the rate of the steps: graphs and buffers are made there
PACKAGES = (
    "torch",
    "onnxruntime",
    "openvino",
    "accelerate",
    "tensorflow",
    "tf_keras",
    "keras_hub",
    "transformers",
    "sentiment_tf",
    "numpy",
)


class Steps:
    """Notes when each training step ended."""

    def __init__(self):
        self.ends: list[float] = []

    def end(self, *_, **__) -> None:
        """Is called after each step, by whatever hook the trainer has."""
        self.ends.append(time.perf_counter())

    def rate(self) -> float | None:
        """Returns rows per second of the steps after the first ones, or None where there are too few."""
        ends = self.ends[SKIPPED_STEPS:]
        return (len(ends) - 1) * BATCH_SIZE / (ends[-1] - ends[0]) if len(ends) > 1 else None


def parse(description: str) -> argparse.Namespace:
    """Reads the flags; ``depth`` is added: the number of trained blocks, None for everything."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True, help="Folder of a DistilBERT.")
    parser.add_argument("--train_file", required=True, help="Training rows as JSON lines: text, label.")
    parser.add_argument("--test_file", help="Held-out rows; without it, nothing is scored.")
    parser.add_argument("--trainable", default="head", help="head, all, or the number of blocks under the head.")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "bfloat16_weights", "int8"))
    parser.add_argument("--max_length", type=int, default=MAX_LENGTH, help="Of predictions by engine.")
    parser.add_argument("--head", default="solve", choices=("solve", "sgd"), help="Of this project, trained alone.")
    parser.add_argument("--engine", default="auto", help="Of this project's predictions.")
    parser.add_argument("--compile", action="store_true", help="Of the tuned PyTorch loop: torch.compile the model.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="Use this many rows, from the start.")
    parser.add_argument("--steps", type=int, help="Train for this many steps instead of --epochs.")
    parser.add_argument("--cache", default="cold", choices=("cold", "warm"), help="Of this project's features.")
    parser.add_argument("--scratch", required=True, help="Folder that is deleted after the benchmark.")
    arguments = parser.parse_args()
    if arguments.steps:
        arguments.limit, arguments.epochs = arguments.steps * BATCH_SIZE, 1
    arguments.depth = depth(arguments.trainable)
    return arguments


def depth(trainable: str) -> int | None:
    """Returns the number of trained blocks, None for everything."""
    return {"head": 0, "all": None}[trainable] if trainable in ("head", "all") else int(trainable)


def measure_training(description: str, *, load: Callable, train: Callable, classify: Callable) -> None:
    """Runs one training and prints what it took.

    Args:
      description: for --help.
      load: ``load(arguments)`` returns whatever the others want: modules, model, tokenizer.
      train: ``train(loaded, arguments, texts, labels, steps)``, raw texts to trained weights.
      classify: ``classify(loaded, texts)`` returns a class number for each text.
    """
    arguments = parse(description)
    texts, labels = read_rows(arguments.train_file, arguments.limit)
    loaded, steps = load(arguments), Steps()
    began = time.perf_counter()
    train(loaded, arguments, texts, labels, steps)
    seconds = time.perf_counter() - began
    memory, accuracy = peak_memory(), None
    if arguments.test_file:
        texts_held_out, expected = read_rows(arguments.test_file)
        answers = classify(loaded, texts_held_out)
        accuracy = sum(int(a) == b for a, b in zip(answers, expected, strict=True)) / len(expected)
    _print(seconds, len(texts) * arguments.epochs, memory, accuracy=accuracy, steps_per_second_rows=steps.rate())


def measure_pass(description: str, *, load: Callable, prepare: Callable, run: Callable) -> None:
    """Runs one pass over texts and prints what it took.

    Args:
      description: for --help.
      load: ``load(arguments)`` returns whatever the others want.
      prepare: ``prepare(loaded, texts)`` returns a list of the pieces of work; not measured.
      run: ``run(loaded, work)`` does them.
    """
    arguments = parse(description)
    texts, _ = read_rows(arguments.train_file, arguments.limit)
    loaded = load(arguments)
    work = prepare(loaded, texts)
    run(loaded, work[::8])  # makes graphs, and kernels for every width
    began = time.perf_counter()
    run(loaded, work)
    seconds, memory = time.perf_counter() - began, peak_memory()
    one = _one_at_a_time(lambda text: run(loaded, prepare(loaded, [text])), texts)
    _print(seconds, len(texts), memory, one_text_ms=one)


def _one_at_a_time(run: Callable, texts: list[str]) -> float:
    """Returns the median milliseconds of a call for one text."""
    seconds = []
    for text in texts[:ONE_BY_ONE]:
        began = time.perf_counter()
        run(text)
        seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds), 2)


def read_rows(path: str, limit: int | None = None) -> tuple[list[str], list[int]]:
    """Returns texts and labels of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:limit]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def by_length(lengths: Sequence[int], size: int = FORWARD_BATCH_SIZE) -> list[list[int]]:
    """Returns row numbers in batches, texts of like length together."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


def peak_memory() -> int:
    """Returns the bytes of main memory this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent held before this program replaced it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _threads() -> dict[str, int]:
    """Returns the thread settings of the frameworks that are loaded; 0 is TensorFlow's "as many as cores"."""
    threads = {}
    if torch := sys.modules.get("torch"):
        threads["torch"] = torch.get_num_threads()
    if tf := sys.modules.get("tensorflow"):
        threads["tensorflow per operation"] = tf.config.threading.get_intra_op_parallelism_threads()
        threads["tensorflow operations"] = tf.config.threading.get_inter_op_parallelism_threads()
    return threads


def _versions() -> dict[str, str]:
    loaded = [package for package in PACKAGES if package in sys.modules]
    return {package: importlib.metadata.version(package.replace("_", "-")) for package in loaded}


def _print(
    seconds: float, examples: int, memory: int, *, accuracy=None, steps_per_second_rows=None, one_text_ms=None
) -> None:
    result = {
        "seconds": seconds,
        "examples": examples,
        "examples_per_second": examples / seconds,
        "step_examples_per_second": steps_per_second_rows,
        "peak_memory_bytes": memory,
        "accuracy": accuracy,
        "one_text_ms": one_text_ms,
        "threads": _threads(),
        "versions": _versions(),
    }
    print("\n" + json.dumps(result))
