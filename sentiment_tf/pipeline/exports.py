"""Writes a trained model in every format that is asked for, and proves each against the trained model."""

import logging
import re
import shutil
from pathlib import Path

import numpy as np

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import tokenization
from sentiment_tf.evaluation import bootstrap, thresholds
from sentiment_tf.exporting import formats, verification
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from sentiment_tf.inference import classifier
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.pipeline.run_directory import RunDirectory
from sentiment_tf.pipeline.setup import RunState

VERIFIED_TEXTS, VERIFIED_TOKENS = 224, 20_000  # of the run's own, at most, beside the odd ones
SAMPLED_TOKENS = 150_000  # of reported rows that int8 files answer: more would take longer than the export

log = logging.getLogger("sentiment_tf")


def export(
    config: TrainConfig,
    state: RunState,
    directory: RunDirectory,
    reported_logits: np.ndarray,
    *,
    temperature: float,
    threshold: float | None = None,
) -> list[dict]:
    """Writes the formats of ``--exports``, verifies them in a fresh process, and leaves out int8 files that lose.

    Args:
      config: Settings of the run.
      state: What the run started from; its model is trained.
      directory: The run's folder.
      reported_logits: float32[rows, classes], those of the trained model on the split that is reported on.
      temperature: Temperature of the calibration, folded into every export.
      threshold: Decision threshold between two classes, stored in every export; None: the larger probability decides.

    Returns:
      A row per format and precision: format, precision, bytes, latency_ms (median, by texts per call),
      texts_per_second, largest_difference (of a logit or probability), and problem: why it was left out, or None.
      int8 files also have accuracy, accuracy_difference, interval and rows.

    Raises:
      RuntimeError: The SavedModel differs from the trained model.
    """
    chosen = formats.parse(config.exports)
    sampled = _sample(config, state)
    verified = sampled[: _within(state, state.splits.report_split, sampled, VERIFIED_TEXTS, VERIFIED_TOKENS)]
    texts = _verified_texts(state, verified)
    more = state.splits.rows[state.splits.report_split][sampled[len(verified) :]]["text"]
    with verification.fresh_process(texts, sample=more) as process:
        bundle = make_bundle(state, max_length=config.max_length, temperature=temperature, threshold=threshold)
        version = directory.version_folder().name
        paths = {each.name: each.path(directory.building, version) for each in chosen}
        for each in chosen:
            each.write(bundle, paths[each.name])
            for precision in each.files:
                process.begin(each.name, precision, paths[each.name])
        expected = _reference_logits(config, state, texts) / temperature
        rows = [_verified(each, precision, process, expected, texts) for each in chosen for precision in each.files]
        speeds = process.speeds()
    labels = state.labels[state.splits.report_split][sampled]
    trained = _decide(reported_logits[sampled] / temperature, threshold)
    for row in rows:
        file = formats.by_name(row["format"]).files[row["precision"]]
        row |= {"bytes": _bytes(paths[row["format"]], file)} | speeds[row["format"], row["precision"]]
        logits, sample_logits = row.pop("logits"), row.pop("sample_logits")
        if row["precision"] == "int8":
            predictions = _decide(np.concatenate([logits[: len(verified)], sample_logits]), threshold)
            row |= _int8_accuracy(predictions, trained, labels, seed=config.seed)
            row["problem"] = row["problem"] or _lost_too_much(config, row, file)
    _leave_out(rows, paths)
    return rows


def folders(config: TrainConfig, directory: RunDirectory) -> list[str]:
    """Returns the run's folders that hold exports, relative to its own."""
    version = directory.version_folder().name
    return [each.folder.format(version=version) for each in formats.parse(config.exports)]


def make_bundle(state: RunState, *, max_length: int, temperature: float, threshold: float | None = None) -> Bundle:
    """Returns what the formats are written from: the trained model's weights with the temperature folded in."""
    model = state.model
    return Bundle(
        weights=encoder.divide_logits(distilbert.read_weights(model), temperature),
        named_weights=distilbert.pytorch_weights(model, temperature=temperature),
        network=distilbert.network_settings(model),
        tokenizer=tokenization.portable(state.tokenizer),
        label_names=state.splits.label_names,
        max_length=max_length,
        threshold=threshold,
    )


def _decide(logits: np.ndarray, threshold: float | None) -> np.ndarray:
    """Returns the class of each row of calibrated logits, int64[rows]."""
    return thresholds.decide(classifier.softmax(logits), threshold)


def _sample(config: TrainConfig, state: RunState) -> np.ndarray:
    """Draws rows of the reported split, all of them where they are few: int64[rows], in random order."""
    reported = state.splits.report_split
    order = np.random.default_rng(config.seed).permutation(len(state.labels[reported]))
    return order[: _within(state, reported, order, len(order), SAMPLED_TOKENS)]


def _within(state: RunState, split: str, rows: np.ndarray, texts: int, tokens: int) -> int:
    """Returns how many of the first rows have so many texts and tokens at most."""
    return int((np.cumsum(state.tokens[split].lengths[rows[:texts]]) <= tokens).sum())


def _verified_texts(state: RunState, verified: np.ndarray) -> list[str]:
    """Returns the texts that every file answers: reported rows, filled up from train if they are few, and odd ones."""
    reported, train = (state.splits.rows[split] for split in (state.splits.report_split, "train"))
    missing = max(VERIFIED_TEXTS - len(reported), 0)
    filling = _within(state, "train", np.arange(len(train)), missing, VERIFIED_TOKENS)
    return [*reported[verified]["text"], *train[:filling]["text"], *ODD_TEXTS]


def _reference_logits(config: TrainConfig, state: RunState, texts: list[str]) -> np.ndarray:
    """Returns what the trained model itself makes of raw texts, through transformers' own layers."""
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    tokens = tokenization.tokenize(state.tokenizer, clean, max_length=config.max_length)
    return distilbert.reference_logits(state.model, tokens)


def _verified(each: formats.Format, precision: str, process, expected: np.ndarray, texts: list[str]) -> dict:
    """Returns a format's row, as far as its answers say.

    Raises:
      RuntimeError: The SavedModel differs from the trained model; other formats are left out.
    """
    answers = process.answers(each.name, precision)
    differences = verification.largest_differences(answers, expected)
    problem = verification.problem(differences, texts, name=each.title) if precision == "float32" else None
    if problem and each.name == "saved_model":
        raise RuntimeError(problem)
    if problem:
        problem = f"{each.title} is left out: {problem}"
    return {
        "format": each.name,
        "precision": precision,
        "largest_difference": float(differences.max()),
        "problem": problem,
        "logits": answers.logits,
        "sample_logits": answers.sample_logits,
    }


def _int8_accuracy(predictions: np.ndarray, trained: np.ndarray, labels: np.ndarray, *, seed: int) -> dict:
    """Returns the accuracy of an int8 file, and its paired difference from the trained model's on the same rows."""
    right, right_trained = predictions == labels, trained == labels
    gained, lost = int((right & ~right_trained).sum()), int((right_trained & ~right).sum())
    return {
        "rows": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_difference": (gained - lost) / len(labels),
        "interval": bootstrap.difference(gained, lost, len(labels), resamples=1000, seed=seed),
    }


def _lost_too_much(config: TrainConfig, row: dict, file: str) -> str | None:
    points = -100 * row["accuracy_difference"]
    if points <= config.quantization_tolerance:
        return None
    return (
        f"{file} is left out: it loses {points:.1f} points of accuracy "
        f"(--quantization_tolerance={config.quantization_tolerance:g})"
    )


def _leave_out(rows: list[dict], paths: dict[str, Path]) -> None:
    """Deletes what falls short: int8 files alone, or the whole format if its float32 file does."""
    for row in rows:
        if not row["problem"]:
            continue
        path = paths[row["format"]]
        if row["precision"] == "int8":
            log.info("  %s", row["problem"])
            (path / formats.by_name(row["format"]).files["int8"]).unlink(missing_ok=True)
            continue
        log.warning("  %s", row["problem"])
        shutil.rmtree(path, ignore_errors=True)
        for other in rows:
            if other["format"] == row["format"] and other is not row:
                other["problem"] = f"left out with the float32 file of {row['format']}"


def _bytes(folder: Path, file: str) -> int:
    """Returns the size of a file, or of a whole folder where none is named."""
    if file:
        return (folder / file).stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
