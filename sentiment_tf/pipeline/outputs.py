"""Outputs of a run: export, run metadata, figures, report, model card, TensorBoard results."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_tf.config import TrainConfig, at_depth, to_flags
from sentiment_tf.data import leaks, loading
from sentiment_tf.distributed import strategies
from sentiment_tf.evaluation import breakdown, calibration, comparison, metrics, thresholds
from sentiment_tf.exporting import layout
from sentiment_tf.inference.classifier import softmax
from sentiment_tf.pipeline import label_audit, seeds
from sentiment_tf.pipeline.setup import RunState
from sentiment_tf.reporting import model_card, plots, report, tensorboard
from sentiment_tf.reporting.rows import ReportedRows
from sentiment_tf.system import provenance

log = logging.getLogger("sentiment_tf")


def choose_threshold(config: TrainConfig, state: RunState, outcome, *, temperature: float) -> dict | None:
    """Returns the decision threshold that the settings ask for, found on the validation rows; None without one."""
    probabilities = softmax(outcome.after["validation"] / temperature)
    labels = state.labels["validation"]
    chosen = thresholds.choose(probabilities, labels, threshold=config.threshold, threshold_for=config.threshold_for)
    if chosen and not chosen["reached"]:
        log.warning(
            "  --threshold_for=%s: no threshold reaches it on the validation rows; the nearest is taken", chosen["rule"]
        )
    if chosen:
        shares = (f"{100 * chosen[name]:.1f} %" for name in ("precision", "recall"))
        label = state.splits.label_names[1]
        log.info("  %s from a probability of %.4f on: precision %s, recall %s", label, chosen["value"], *shares)
    return chosen


def reported_rows(state: RunState, outcome, *, temperature: float, threshold: float | None = None) -> ReportedRows:
    """Returns the rows that the run is reported on, with the logits before training and those that exports answer."""
    split = state.splits.report_split
    probabilities = softmax(outcome.after[split] / temperature)
    return ReportedRows(
        texts=state.splits.rows[split]["text"],
        labels=state.labels[split],
        logits_before=outcome.before[split],
        logits_after=outcome.after[split] / np.float32(temperature),
        lengths=state.tokens[split].lengths,
        truncated=state.tokens[split].truncated,
        names=state.splits.row_names(split),
        predicted=None if threshold is None else thresholds.decide(probabilities, threshold),
    )


def describe(
    config: TrainConfig,
    state: RunState,
    outcome,
    rows: ReportedRows,
    *,
    temperature: float,
    threshold: dict | None = None,
) -> dict:
    """Returns the content of run.json without the times, the explanations and the export's figures."""
    splits, reported = state.splits, state.splits.report_split
    labels = rows.labels
    found = leaks.audit({split: loading.text_array(texts) for split, texts in splits.rows.items()}, reported)
    _log_leaks(found)
    _name_examples(splits, found)
    used = effective(config, state, outcome.depths)
    return {
        "config": dataclasses.asdict(used),
        "flags": dataclasses.asdict(config),
        "label_names": list(splits.label_names),
        "data": {
            "source": splits.source,
            "notes": list(splits.notes),
            "rows": {split: len(rows) for split, rows in splits.rows.items()},
            "truncated": {split: int(tokens.truncated.sum()) for split, tokens in state.tokens.items()},
            "report_split": reported,
        },
        "model_revision": state.files.revision,
        "compute_dtype": state.compute_dtype.name,
        "frozen_dtype": state.frozen_dtype.name,
        "trainable_parameters": outcome.trained_parameters,
        "frozen_parameters": state.model.count_params() - outcome.trained_parameters,
        "metrics": _metrics(outcome, rows, found["leaked_rows"]),
        **(
            {
                "calibration": calibration.summarize(outcome.after[reported], labels, temperature=temperature)
                | {"folded": True}
            }
            if config.calibrate == "on"  # without it, report and model card mention no temperature
            else {}
        ),
        **(
            {"threshold": _on_reported_rows(threshold, softmax(outcome.after[reported] / temperature), labels)}
            if threshold
            else {}
        ),
        "history": outcome.history,
        **({"depths": outcome.depths, "skipped_depths": outcome.skipped} if outcome.depths else {}),
        **(
            {"label_audit": label_audit.record(config, state, outcome.label_noise, used.fixed_depth)}
            if outcome.label_noise
            else {}
        ),
        **({"seeds": outcome.seeds} if outcome.seeds else {}),
        "leaks": found,
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
    }


def _metrics(outcome, rows: ReportedRows, leaked_rows: list[int]) -> dict:
    """Returns the metrics before and after training, and their comparison."""
    labels, before, after, predicted = rows.labels, rows.logits_before, rows.logits_after, rows.predicted
    return {
        "before": metrics.evaluate(before, labels),
        "after": metrics.evaluate(after, labels, predicted=predicted)
        | {
            "accuracy_without_leaks": breakdown.accuracy_without(leaked_rows, after, labels, predicted=predicted),
            "by_length": breakdown.by_length(after, labels, rows.lengths, predicted=predicted),
            "by_truncation": breakdown.by_truncation(after, labels, rows.truncated, predicted=predicted),
        },
        "comparison": comparison.compare(before, after, labels, predicted=(None, predicted)),
        **({"over_seeds": seeds.ranges(outcome.seeds)} if outcome.seeds else {}),
    }


def _on_reported_rows(threshold: dict, probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """Returns the chosen threshold with what it gives on the reported rows, beside the larger probability's."""
    return threshold | {
        "reported": thresholds.measure(probabilities, labels, threshold["value"]),
        "larger_probability": thresholds.measure(probabilities, labels, 0.5),
    }


def effective(config: TrainConfig, state: RunState, depths: list[dict]) -> TrainConfig:
    """Returns the config with the values that were used for ``auto``, the depth search, columns and revisions.

    Args:
      config: the resolved config.
      state: the run's data and model.
      depths: results of the depth search; empty without one.
    """
    source = state.splits.source
    if source["kind"] == "files" and source["columns"]:
        text, label = source["columns"]
        config = dataclasses.replace(config, text_column=text, label_column=label)
    in_use: dict[str, Any] = strategies.settings_in_use(state.strategy, state.compute_dtype, state.frozen_dtype)
    revisions = {"model_revision": state.files.revision, "dataset_revision": source["revision"]}
    config = dataclasses.replace(config, **revisions, **in_use)
    for row in depths:
        if row.get("chosen"):
            config = at_depth(config, row["trainable_layers"])
    return config


def _name_examples(splits: loading.Splits, found: dict) -> None:
    """Adds the names of their rows to the examples of the leak audit."""
    for example in (example for examples in found["examples"].values() for example in examples):
        for prefix, split in (("", found["report_split"]), ("other_", example["other_split"])):
            number = splits.rows[split][example[f"{prefix}row"]]["row"]
            example[f"{prefix}name"] = splits.origins[split].of_row(number)


def _log_leaks(found: dict) -> None:
    """Logs how many rows of the report split are in another split."""
    counts = ", ".join(f"{found['leaked'][kind]:,} {kind}" for kind in found["kinds"])
    split, total = found["report_split"], found["leaked"]["total"]
    log.info("  %s of %s %s rows are in another split: %s", f"{total:,}", f"{found['rows'][split]:,}", split, counts)


def write(
    config: TrainConfig, outcome, rows: ReportedRows, content: dict, building: Path, *, words: Mapping[int, Sequence]
) -> None:
    """Writes the figures, the report, the model card in hf/, TensorBoard's results, history.csv and run.flags.

    Args:
      config: Settings of the run.
      outcome: What training did.
      rows: The reported rows.
      content: The content of run.json.
      building: The run's folder.
      words: By row, the `attributions.Word`s of the rows that are explained.
    """
    before_training = {name: content["metrics"]["before"][name] for name in ("loss", "accuracy")}
    start = before_training if content["data"]["report_split"] == "validation" else None
    plots.save(plots.history(outcome.history, before=start), building / "history.png")
    plots.save(
        plots.comparison(content["metrics"]["before"], content["metrics"]["after"]),
        building / "comparison.png",
    )
    if outcome.depths:
        plots.save(plots.depth(outcome.depths), building / "depths.png")
    report.write(building / "report.html", run=content, rows=rows, words=words)
    if (building / layout.HF_FOLDER).is_dir():  # a folder with nothing but a card would look like a model
        model_card.write(building / layout.HF_FOLDER / "README.md", run=content)
    tensorboard.write_results(building / "logs", run=content, rows=rows)
    provenance.write_history(building / "history.csv", outcome.history)
    (building / "run.flags").write_text(to_flags(config))
