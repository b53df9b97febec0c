"""``--audit_labels``: finds training rows whose labels look wrong."""

import csv
import dataclasses
import logging
from pathlib import Path

import numpy as np

from sentiment_tf.config import TrainConfig, at_depth
from sentiment_tf.data import splitting
from sentiment_tf.data.registry import Depth
from sentiment_tf.distributed import collectives
from sentiment_tf.evaluation import label_noise
from sentiment_tf.evaluation.label_noise import LabelNoise
from sentiment_tf.inference import writers
from sentiment_tf.inference.classifier import softmax
from sentiment_tf.pipeline import fine_tuning, setup, solved_head
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.training import fitting, head_solver

FILE = "suspicious_labels.csv"
SHOWN = 20  # rows in run.json and on the report

log = logging.getLogger("sentiment_tf")


def way(config: TrainConfig, state: RunState, depth: Depth) -> str | None:
    """Returns how labels are audited: by a solved ``head`` for each fold, ``deep`` as the run trained, or not at all.

    Args:
      config: The run's settings. "auto" means ``head`` if the head's features are there anyway and the rows are enough.
      state: What the run started from.
      depth: The depth that was trained.
    """
    has_features = depth == 0 or config.stages or config.depth == "auto"
    is_cheap = has_features and len(state.labels["train"]) >= head_solver.FOLDS
    found = {"auto": "head" if is_cheap else None, "off": None}.get(config.audit_labels, config.audit_labels)
    return "head" if found == "deep" and depth == 0 else found


def audit(config: TrainConfig, state: RunState, at: Trainable, depth: Depth) -> LabelNoise | None:
    """Answers every training row by a model that was trained without it, and compares the answers with the labels.

    Args:
      config: The run's settings.
      state: What the run started from; its model keeps its weights.
      at: What was trained, and its features.
      depth: The depth that was trained.

    Returns:
      What was found; None on a worker that is not the chief. All workers share the frozen layers and the training of
      blocks; the chief alone solves heads.
    """
    is_chief = collectives.workers(state.strategy)[0] == 0
    if way(config, state, depth) == "deep":
        probabilities = _deep(at_depth(config, depth), state, at)
    else:
        features = at.features if depth == 0 else _pretrained_features(config, state)
        probabilities = _by_solved_heads(config, state, features["train"].values) if is_chief else None
    return label_noise.find(state.labels["train"], probabilities, seed=config.seed) if is_chief else None


def record(config: TrainConfig, state: RunState, found: LabelNoise, depth: Depth) -> dict:
    """Returns what run.json says: the `way`, the estimate, and the first of the suspicious rows."""
    return {
        "way": way(config, state, depth),
        "rows": len(found.scores),
        "suspicious": int(found.suspicious.sum()),
        "share": found.share,
        "interval": list(found.interval),
        "first": [_row(state, found, row) for row in found.order[:SHOWN]],
    }


def write(state: RunState, found: LabelNoise, path: Path) -> None:
    """Writes a CSV of the suspicious rows, the most suspicious first: file, row, given, likely, score, text.

    People open it in a spreadsheet, so cells that it would run as formulas get an apostrophe.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file", "row", "given", "likely", "score", "text"])
        writer.writeheader()
        for row in found.order:
            cells = _row(state, found, row)
            writer.writerow({name: writers.without_formula(str(cell)) for name, cell in cells.items()})


def _row(state: RunState, found: LabelNoise, row: int) -> dict:
    names, origin = state.splits.label_names, state.splits.origins["train"]
    text, number = (state.splits.rows["train"][int(row)][column] for column in ("text", "row"))
    return {
        "file": origin.files[number - 1] if origin.files else origin.name,
        "row": number,
        "given": names[state.labels["train"][row]],
        "likely": names[found.likely[row]],
        "score": round(float(found.scores[row]), 4),
        "text": text,
    }


def _by_solved_heads(config: TrainConfig, state: RunState, vectors: np.ndarray) -> np.ndarray:
    """Returns float64[rows, classes]: each fold's rows answered by a head that was solved on the other folds."""
    rows, groups = solved_head.problem(config, state, vectors)
    return head_solver.out_of_fold(rows, groups=groups, seed=config.seed)


def _pretrained_features(config: TrainConfig, state: RunState):
    """Returns the [CLS] vectors of the pretrained model: the output of trained blocks would tell the labels."""
    pretrained = setup.load_model(config, state.files, state.splits, state.strategy)
    return setup.freeze(config, dataclasses.replace(state, model=pretrained), 0, only=["train"]).features


def _deep(config: TrainConfig, state: RunState, at: Trainable) -> np.ndarray:
    """Returns float32[rows, classes]: each fold's rows answered by a model that was trained on the other folds."""
    labels, features = state.labels["train"], at.features["train"]
    groups = solved_head.groups(state)(np.arange(len(labels)))
    fold = splitting.folds(labels, groups, count=head_solver.FOLDS, seed=config.seed)
    # The rows of a fold must not choose the epoch that answers them.
    config = dataclasses.replace(config, early_stopping_patience=None)
    pretrained = setup.load_model(config, state.files, state.splits, state.strategy).get_weights()
    trained, logits = state.model.get_weights(), np.zeros((len(labels), len(state.splits.label_names)), np.float32)
    for number in range(head_solver.FOLDS):
        others, own = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        state.model.set_weights(pretrained)
        one = Trainable(
            setup.make_trainable(config, state, config.fixed_depth),
            {"train": features.take(others), "validation": features.take(own)},
        )
        part = dataclasses.replace(state, labels={"train": labels[others], "validation": labels[own]})
        fine_tuning.fit(config, part, one, name=f"audit-{number}")
        logits[own] = fitting.predict_logits(one.model, one.features["validation"])
        log.info("  labels: fold %d of %d answered", number + 1, head_solver.FOLDS)
    state.model.set_weights(trained)
    return softmax(logits)
