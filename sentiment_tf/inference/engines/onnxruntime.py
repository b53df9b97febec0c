"""Answers from a run's ONNX files, as ONNX Runtime and transformers.js do; the export is verified with it."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

from sentiment_tf.exporting import layout
from sentiment_tf.inference import classifier
from sentiment_tf.system import runtime


class OnnxClassifier(classifier.Classifier):
    """An ONNX file and the tokenizer beside its folder; see `classifier.Classifier`."""

    engine = "onnxruntime"

    def __init__(self, file: Path, *, precision: str):
        """Loads one file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = runtime.cores()
        options.log_severity_level = 3
        # Threads that wait for work would take the cores from the process that is still writing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.precision = precision
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._pool = ThreadPoolExecutor(1)
        folder = file.parents[1]
        config = json.loads((folder / layout.HF_CONFIG).read_text(encoding="utf-8"))
        names, self.threshold = config["id2label"], config.get("threshold")
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        self.label_names = tuple(names[str(number)] for number in range(len(names)))
        self.max_length = settings["model_max_length"]
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / layout.TOKENIZER))
        self._tokenizer.enable_truncation(self.max_length)

    def begin(self, texts: Sequence[str | bytes]) -> Future:
        """Starts to answer one request."""
        return self._pool.submit(lambda: classifier.softmax(self.logits(texts)))

    def logits(self, texts: Sequence[str | bytes]) -> np.ndarray:
        """Answers one request before softmax: float32[texts, classes]."""
        encodings = self._tokenizer.encode_batch_fast([classifier.as_text(text) for text in texts])
        rows = [encoding.ids for encoding in encodings]
        return classifier.logits_in_batches(self._batch, rows, classes=len(self.label_names), workers=1)

    def _batch(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        inputs = {"input_ids": input_ids.astype(np.int64), "attention_mask": attention_mask.astype(np.int64)}
        return self._session.run(["logits"], inputs)[0]


def load(folder: str | os.PathLike, *, precision: str = "float32") -> OnnxClassifier:
    """Loads one of the ONNX files.

    Args:
      folder: such as `<run>/hf/onnx`.
      precision: "float32" or "int8".
    """
    return OnnxClassifier(Path(folder) / layout.ONNX_FILES[precision], precision=precision)
