"""A run of the real command, and what its SavedModel answers to 256 texts."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from sentiment_tf import runtime
from sentiment_tf.config import TrainConfig
from sentiment_tf.data import datasets, tokenization
from sentiment_tf.serving import saved_model
from sentiment_tf.serving.odd_texts import ODD_TEXTS

TEXTS = 256
BUILD = Path(__file__).parents[2] / "build" / "interop"

# Trains in seconds, and the answers are still apart enough to tell a right one from a wrong one.
FLAGS = ("--dataset=rotten_tomatoes", "--offline", "--model=minilm-l6", "--limit=1000", "--learning_rate=0.001")
# A loss that leaves the quantised files out is a matter of the run, not of the format.
FLAGS_IF_KNOWN = {"quantization_tolerance": 100}


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
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    more = [f"--{name}={value}" for name, value in FLAGS_IF_KNOWN.items() if name in known]
    places = [f"--output_dir={output_dir}", f"--cache_dir={BUILD}", "--run_name=run"]
    done = subprocess.run(
        [sys.executable, "-m", "sentiment_tf.train", *FLAGS, *more, *places], capture_output=True, text=True
    )
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
    config = _record(run)["config"]
    own = _own_texts(config)
    texts = [*own[: TEXTS - len(ODD_TEXTS)], *ODD_TEXTS]
    runtime.start()
    with runtime.quiet_stderr():  # TensorFlow's remarks about the processor
        model = saved_model.load(run)
        tokens = _tokens(config, texts, model.max_length)
        _, probabilities = model.predict(texts)
    return Expected(
        texts=texts,
        ids=[ids.tolist() for ids in np.split(tokens.ids, tokens.offsets[1:-1])],
        cut=tokens.truncated.tolist(),
        probabilities=probabilities,
        label_names=model.label_names,
    )


def _own_texts(config: dict) -> list[str]:
    """Returns the texts of the split that the run reports on, as they stand in the data."""
    names = ("dataset", "data_dir", "train_file", "validation_file", "test_file", "text_column", "label_column")
    settings = {name: config[name] for name in (*names, "offline", "seed")}
    splits = datasets.load(**settings, revision=config["dataset_revision"])
    return splits.rows[splits.report_split][:TEXTS]["text"]


def _tokens(config: dict, texts: list[str], max_length: int) -> tokenization.Tokens:
    """Tokenizes as training did: with the pretrained model's own files, which know nothing of an export."""
    from sentiment_tf.modeling import classifier

    settings = {"revision": config["model_revision"], "cache_dir": config["cache_dir"], "offline": config["offline"]}
    tokenizer = tokenization.load_tokenizer(classifier.find_model(config["model"], **settings).directory)
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    return tokenization.tokenize(tokenizer, clean, max_length=max_length)


def _record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())
