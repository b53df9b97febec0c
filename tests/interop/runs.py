"""A run of the real command, and what its SavedModel answers to 256 texts."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import loading, tokenization
from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from sentiment_tf.modeling import bert_tokenizer, distilbert_settings, pretrained
from sentiment_tf.system import runtime

TEXTS = 256
BUILD = Path(__file__).parents[2] / "build" / "interop"

FLAGS = (
    # Trains in seconds, and the answers are still apart enough to tell a right one from a wrong one.
    *("--dataset=rotten_tomatoes", "--offline", "--model=minilm-l6", "--limit=1000", "--learning_rate=0.001"),
    "--exports=saved_model,hf,onnx",
    # With so little training int8 may lose more accuracy than is allowed; here it is to be read, however good it is.
    "--quantization_tolerance=100",
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What every library is compared with.

    Attributes:
      texts: the run's own, then the odd ones.
      ids: token ids of each text as in training.
      cut: whether a text was longer than ``max_length``.
      probabilities: float32[texts, classes] of the SavedModel.
      label_names: of the classes.
    """

    texts: list[str]
    ids: list[list[int]]
    cut: list[bool]
    probabilities: np.ndarray
    label_names: tuple[str, ...]


def train(output_dir: Path) -> Path:
    """Trains a small model; returns the run's folder.

    Raises:
      RuntimeError: the run failed, or its calibration changed nothing, so that no export would show a missing one.
    """
    places = [f"--output_dir={output_dir}", f"--cache_dir={BUILD}", "--run_name=run"]
    done = subprocess.run([sys.executable, "-m", "sentiment_tf.train", *FLAGS, *places], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the training failed:\n{done.stdout}{done.stderr}")
    run = output_dir / "run"
    temperature = _record(run)["calibration"]["temperature"]
    if abs(temperature - 1) < 0.05:
        raise RuntimeError(f"the training's temperature is {temperature:.3f}: too near to 1 to prove that it is kept")
    return run


def expected(run: Path) -> Expected:
    """Asks a run's SavedModel and the tokenizer that it was trained with.

    Args:
      run: a finished run whose data and model are still where they were.
    """
    record = _record(run)
    config = TrainConfig(**record["config"])
    splits = loading.load(config.data, seed=config.seed)
    own = splits.rows[splits.report_split][: TEXTS - len(ODD_TEXTS)]["text"]
    texts = [*own, *ODD_TEXTS]
    runtime.start()
    with runtime.quiet_stderr():  # TensorFlow's remarks about the processor
        tokens = _tokens(config, texts)
        probabilities = _ask_saved_model(run, texts)
    return Expected(
        texts=texts,
        ids=[ids.tolist() for ids in np.split(tokens.ids, tokens.offsets[1:-1])],
        cut=tokens.truncated.tolist(),
        probabilities=probabilities,
        label_names=tuple(record["label_names"]),
    )


def _tokens(config: TrainConfig, texts: list[str]) -> tokenization.Tokens:
    """Tokenizes as training did: with the pretrained model's own files, which know nothing of an export."""
    places = {"revision": config.model_revision, "cache_dir": config.cache_dir, "offline": config.offline}
    directory = pretrained.find_model(config.model, **places).directory
    settings = distilbert_settings.read(directory, config.model)
    tokenizer = bert_tokenizer.load(directory, name=config.model, vocabulary_size=settings.vocab_size)
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    return tokenization.tokenize(tokenizer, clean, max_length=config.max_length)


def _ask_saved_model(run: Path, texts: list[str]) -> np.ndarray:
    """Returns float32[texts, classes] by plain TensorFlow, as the README shows it."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the tokenizer's operations

    model = tf.saved_model.load(str(run / "1"))
    return model.signatures["serving_default"](text=tf.constant(texts))["probabilities"].numpy()


def _record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())
