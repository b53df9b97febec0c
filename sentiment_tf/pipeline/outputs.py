"""What a run leaves behind: the export, the pictures, the page, the record."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from sentiment_tf.config import TrainConfig, at_depth, to_flags
from sentiment_tf.data import leaks
from sentiment_tf.evaluation import calibration, metrics
from sentiment_tf.pipeline.setup import Prepared
from sentiment_tf.reporting import model_card, plots, report, tensorboard
from sentiment_tf.system import provenance

MISTAKES_SHOWN = 50

log = logging.getLogger("sentiment_tf")


def describe(config: TrainConfig, prepared: Prepared, outcome, *, temperature: float) -> dict:
    """Returns the content of run.json, but for the times and what the export measured."""
    splits, reported = prepared.splits, prepared.splits.report_split
    labels, before, after = prepared.labels[reported], outcome.before[reported], outcome.after[reported]
    tokens = prepared.tokens[reported]
    found = leaks.audit({split: rows["text"] for split, rows in splits.rows.items()}, reported)
    _say_leaks(found)
    return {
        "config": dataclasses.asdict(effective(config, prepared, outcome.depths)),
        "flags": dataclasses.asdict(config),
        "label_names": list(splits.label_names),
        "data": {
            "source": splits.source,
            "notes": list(splits.notes),
            "rows": {split: len(rows) for split, rows in splits.rows.items()},
            "truncated": {split: int(tokens.truncated.sum()) for split, tokens in prepared.tokens.items()},
            "report_split": reported,
        },
        "model_revision": prepared.files.revision,
        "compute_dtype": prepared.compute_dtype.name,
        "trainable_parameters": outcome.trained_parameters,
        "frozen_parameters": prepared.model.count_params() - outcome.trained_parameters,
        "metrics": {
            "before": metrics.evaluate(before, labels),
            "after": metrics.evaluate(after, labels)
            | {
                "accuracy_without_leaks": accuracy_without(found["leaked_rows"], after, labels),
                "by_length": metrics.by_length(after, labels, tokens.lengths),
                "by_truncation": metrics.by_truncation(after, labels, tokens.truncated),
            },
            "comparison": metrics.compare(before, after, labels),
        },
        **(
            {"calibration": calibration.summarize(after, labels, temperature=temperature) | {"folded": True}}
            if config.calibrate == "on"  # without a key the page and the model card claim no fitted temperature
            else {}
        ),
        "history": outcome.history,
        **({"depths": outcome.depths, "skipped_depths": outcome.skipped} if outcome.depths else {}),
        "leaks": found,
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
    }


def effective(config: TrainConfig, prepared: Prepared, depths: list[dict]) -> TrainConfig:
    """Returns the config with what was used of every ``auto``, depth search, column, and branch on the hub.

    Args:
      config: resolved.
      prepared: of the run.
      depths: what the search tried; empty without one.
    """
    from sentiment_tf.distributed import strategies

    source = prepared.splits.source
    if source["kind"] == "files" and source["columns"]:
        text, label = source["columns"]
        config = dataclasses.replace(config, text_column=text, label_column=label)
    config = dataclasses.replace(
        config,
        model_revision=prepared.files.revision,
        dataset_revision=source["revision"],
        **strategies.settings_in_use(prepared.strategy, prepared.compute_dtype),
    )
    for row in depths:
        if row.get("chosen"):
            config = at_depth(config, row["trainable_layers"])
    return config


def accuracy_without(rows: list[int], logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Returns the accuracy on all other rows, None where there are none."""
    right = np.delete(logits.argmax(axis=1) == labels, rows)
    return float(right.mean()) if len(right) else None


def _say_leaks(found: dict) -> None:
    """Says how many rows of the report split stand in another one."""
    counts = ", ".join(f"{found['leaked'][kind]:,} {kind}" for kind in found["kinds"])
    split, total = found["report_split"], found["leaked"]["total"]
    log.info("  %s of %s %s rows stand in another split: %s", f"{total:,}", f"{found['rows'][split]:,}", split, counts)


def write(config: TrainConfig, prepared: Prepared, outcome, content: dict, building: Path) -> None:
    """Writes the pictures, the page, the model card and TensorBoard's results."""
    splits, reported = prepared.splits, prepared.splits.report_split
    labels, before, after = prepared.labels[reported], outcome.before[reported], outcome.after[reported]
    texts, tokens = splits.rows[reported]["text"], prepared.tokens[reported]
    before_training = {name: content["metrics"]["before"][name] for name in ("loss", "accuracy")}
    start = before_training if reported == "validation" else None
    plots.save(plots.history(outcome.history, before=start), building / "history.png")
    plots.save(
        plots.comparison(content["metrics"]["before"], content["metrics"]["after"]),
        building / "comparison.png",
    )
    if outcome.depths:
        plots.save(plots.depth(outcome.depths), building / "depths.png")
    report.write(
        building / "report.html",
        run=content,
        texts=texts,
        labels=labels,
        logits_before=before,
        logits_after=after,
        lengths=tokens.lengths,
        truncated=tokens.truncated,
    )
    model_card.write(building / "hf" / "README.md", run=content)
    tensorboard.write_results(
        building / "logs",
        run=content,
        texts=texts,
        labels=labels,
        logits=after,
        mistakes=metrics.mistakes(after, labels)[:MISTAKES_SHOWN],
    )
    provenance.write_history(building / "history.csv", outcome.history)
    (building / "run.flags").write_text(to_flags(config))
