"""Answers from a run's LiteRT files, without TensorFlow: needs numpy, tokenizers and ai-edge-litert alone.

Large requests are divided among the cores as `modeling.litert_runtime` says. A single text has one interpreter over all
cores, which is made again after a large request.
"""

import concurrent.futures
import importlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sentiment_tf.data.columns import has_control_characters
from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout, manifest
from sentiment_tf.inference import classifier
from sentiment_tf.modeling import litert_runtime
from sentiment_tf.system import runtime, small_files

_INSTALL = "pip install ai-edge-litert tokenizers"


class LiteRTClassifier(classifier.Classifier):
    """A run's LiteRT export, loaded; see `classifier.Classifier`."""

    engine = "litert"

    def __init__(self, model: Path, tokenizer, config: dict, *, precision: str, cores: int | None = None):
        """Wraps the files of one precision; see `load`.

        Args:
          model: the .tflite file.
          tokenizer: `tokenizers.Tokenizer` of the training.
          config: see `exporting.litert.write`.
          precision: the file's.
          cores: processor cores to use; None for those that the process may use.
        """
        self.label_names = tuple(config["label_names"])
        self.max_length = int(config["max_length"])
        self.threshold = config.get("threshold")
        self.precision = precision
        self._tokenizer, self._model = tokenizer, model
        self._workers, self._threads = litert_runtime.interpreters_and_threads(cores or runtime.cores())
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._latest: concurrent.futures.Future | None = None  # of the calls that the pool was given
        self._of_thread, self._lock = threading.local(), threading.Lock()
        self._over_all_cores: litert_runtime.Interpreter | None = self._interpreter(threads=self._workers)
        with runtime.quiet_stderr():  # LiteRT reports once that it uses XNNPACK
            classes = self._wide()(np.zeros([1, 2], np.int32))[0].shape[1]
        if classes != len(self.label_names):
            raise ValueError(f"the model has {classes} classes, {layout.LITERT_CONFIG} names {len(self.label_names)}")

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request before softmax: float32[texts, classes]."""
        return self.begin(texts).wait()

    def tokenize(self, texts: Sequence[str | bytes]) -> list[list[int]]:
        """Returns the token ids of each text, [CLS] and [SEP] included, as training saw them."""
        return [
            encoding.ids for encoding in self._tokenizer.encode_batch_fast([classifier.as_text(text) for text in texts])
        ]

    def begin(self, texts: Sequence[str | bytes]) -> "_Request":
        """Cuts a request into calls and starts them; a small one is answered at once, unless cores are busy."""
        rows = self.tokenize(texts)
        request = _Request(len(rows), len(self.label_names))
        calls = [
            (members, np.array([rows[member] for member in members], np.int32))
            for members in litert_runtime.calls([len(row) for row in rows])
        ]
        if not calls:
            return request
        with self._lock:
            if len(calls) < self._workers and (self._latest is None or self._latest.done()):
                for members, input_ids in calls:
                    request.logits[members] = self._wide()(input_ids)[0]
                return request
            self._over_all_cores = None  # its copy of the weights makes room for those of the workers
            self._pool = self._pool or concurrent.futures.ThreadPoolExecutor(self._workers)
            request.calls = [self._pool.submit(self._call, request, *call) for call in calls]
            self._latest = request.calls[-1]
        return request

    def _interpreter(self, *, threads: int) -> litert_runtime.Interpreter:
        return litert_runtime.Interpreter(self._model, threads=threads, outputs=["logits"])

    def _wide(self) -> litert_runtime.Interpreter:
        self._over_all_cores = self._over_all_cores or self._interpreter(threads=self._workers)
        return self._over_all_cores

    def _call(self, request, members, input_ids):
        if not hasattr(self._of_thread, "interpreter"):
            self._of_thread.interpreter = self._interpreter(threads=self._threads)
        request.logits[members] = self._of_thread.interpreter(input_ids)[0]


class _Request:
    """Answers to come: float32[texts, classes], filled by calls that may still run."""

    def __init__(self, texts: int, classes: int):
        self.logits, self.calls = np.empty([texts, classes], np.float32), []

    def result(self) -> np.ndarray:
        """Waits for the calls and returns the probabilities; raises what one of them raised."""
        return classifier.softmax(self.wait())

    def wait(self) -> np.ndarray:
        """Waits for the calls and returns the logits; raises what one of them raised."""
        for call in self.calls:
            call.result()
        return self.logits

    def cancel(self) -> None:
        """Drops the calls that have not begun."""
        for call in self.calls:
            call.cancel()


def installed() -> bool:
    """Returns whether the packages are there."""
    return all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tokenizers"))


def load(path: str | os.PathLike, *, precision: str = "float32", cores: int | None = None) -> LiteRTClassifier:
    """Loads a run's LiteRT export.

    Args:
      path: a run's folder, or its folder `litert`.
      precision: "float32" or "int8".
      cores: processor cores to use; None for those that the process may use.

    Raises:
      UserError: a package or a file is missing, or a file is not what `exporting.litert` writes.
    """
    try:
        tokenizers = importlib.import_module("tokenizers")
        importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise UserError(f"--engine=litert: {error}; install what it needs: {_INSTALL}") from None
    folder = find(path, precision=precision)
    model = folder / layout.LITERT_FILES[precision]
    manifest.check_files(folder.parent, [model, folder / layout.LITERT_CONFIG, folder / layout.TOKENIZER])
    try:
        config = _read_config(folder / layout.LITERT_CONFIG)
        file = small_files.check_size(folder / layout.TOKENIZER, most=small_files.LARGEST_TOKENIZER)
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=config["max_length"])
        tokenizer.encode_special_tokens = True  # a literal "[SEP]" in a text is ordinary text
        return LiteRTClassifier(model, tokenizer, config, precision=precision, cores=cores)
    except Exception as error:  # tokenizers raises Exception itself, LiteRT ValueError or RuntimeError
        raise UserError(
            f"--model={path}: {folder} is damaged or of another program ({error}); export it again"
        ) from error


def find(path: str | os.PathLike, *, precision: str = "float32") -> Path:
    """Returns the folder with the LiteRT files that `path` means.

    Raises:
      UserError: there is none, or it lacks this precision.
    """
    name, folder = layout.LITERT_FILES[precision], Path(os.path.expanduser(path))
    if not folder.is_dir():
        raise UserError(f"--model={path}: no such folder; pass a run of sentiment_tf.train, as in saved_models/sst2")
    if (folder / layout.LITERT_FOLDER).is_dir():
        folder = folder / layout.LITERT_FOLDER
    if (folder / name).is_file():
        return folder
    others = [other for other, file in layout.LITERT_FILES.items() if (folder / file).is_file()]
    if others:
        raise UserError(f"--precision={precision}: {folder} has no {name}; pass --precision={others[0]}")
    instead = "or --engine=tensorflow" if precision == "float32" else "or leave out --precision"
    raise UserError(
        f"--model={path}: holds no LiteRT export ({layout.LITERT_FOLDER}/{name}); "
        f"pass a run whose --exports include litert, {instead}"
    )


def files(folder: Path, *, precision: str) -> list[Path]:
    """Returns the files of a folder from `find` that answers depend on."""
    return [folder / name for name in (layout.LITERT_FILES[precision], layout.TOKENIZER, layout.LITERT_CONFIG)]


def _read_config(path: Path) -> dict:
    config = small_files.read_object(path)
    missing = {"label_names", "max_length"} - set(config)
    if missing:
        raise ValueError(f"{path.name} lacks {', '.join(sorted(missing))}")
    if any(not isinstance(name, str) or has_control_characters(name) for name in config["label_names"]):
        raise ValueError(f"{path.name} has label_names that are not one line of text each")
    return config
