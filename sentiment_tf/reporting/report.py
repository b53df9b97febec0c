"""``report.html``: a run on one page that loads nothing from elsewhere."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from scipy.special import softmax

from sentiment_tf.evaluation import breakdown, comparison, metrics
from sentiment_tf.reporting import diagnostics, formatting, plots, style, templates
from sentiment_tf.reporting.rows import ReportedRows

SHOWN = 12  # examples of each kind
LONGEST_TEXT = 5_000  # characters

# Invalid in HTML: control characters, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def write(path: str | os.PathLike, *, run: dict[str, Any], rows: ReportedRows) -> None:
    """Writes the page about a run and the rows that it is reported on.

    A section is left out if the run lacks its data ("depths", "leaks", "calibration", "export", …).

    Args:
      path: the HTML file.
      run: content of run.json.
      rows: the reported rows; any text is escaped.
    """
    labels, after = rows.labels, rows.logits_after
    tables = {
        "by_length": breakdown.by_length(after, labels, rows.lengths),
        "by_truncation": breakdown.by_truncation(after, labels, rows.truncated),
    }
    compared = comparison.compare(rows.logits_before, after, labels)
    page = templates.render(
        "report.html.jinja",
        run=run,
        before=run["metrics"]["before"],
        after=run["metrics"]["after"],
        comparison=compared,
        tables=tables,
        without_leaks=_without_leaks(run, rows),
        printable=_printable,
        figures=_figures(run, rows, tables["by_length"]),
        confused=breakdown.confused_pairs(run["metrics"]["after"]["confusion"]),
        many_classes=len(run["label_names"]) > diagnostics.FEW_CLASSES,
        mistakes=_examples(rows, run["label_names"], breakdown.mistakes(after, labels)),
        fixed=_examples(rows, run["label_names"], compared["fixed_rows"]),
        broken=_examples(rows, run["label_names"], compared["broken_rows"]),
    )
    Path(path).write_text(page, encoding="utf-8")


def _figures(run: dict[str, Any], rows: ReportedRows, by_length: list[dict]) -> dict[str, Markup]:
    """Draws every figure that the run has data for; {name: SVG}."""
    before, after = run["metrics"]["before"], run["metrics"]["after"]
    names, epochs = run["label_names"], run.get("history") or []
    start = before if run.get("data", {}).get("report_split") == "validation" else None
    temperature = (run.get("calibration") or {}).get("temperature", 1.0)
    drawn: dict[str, tuple[Figure, str]] = {
        "comparison": (plots.comparison(before, after), _describe_comparison(before, after)),
        "reliability": (
            diagnostics.reliability(rows.logits_after, rows.labels, temperature=temperature),
            f"Reliability diagram: accuracy against confidence; calibration error {after['ece']:.3f}.",
        ),
        "by_length": (diagnostics.by_length(by_length), "Bar chart of the adjacent table: accuracy by length."),
    }
    if epochs:
        drawn["loss"] = plots.loss(epochs, before=start), _describe_curve(epochs, "loss")
        drawn["accuracy"] = plots.accuracy(epochs, before=start), _describe_curve(epochs, "accuracy")
    for when, result in (("before", before), ("after", after)):
        figure = diagnostics.confusion(result["confusion"], names, title=f"Confusion {when} training")
        drawn[f"confusion_{when}"] = figure, _describe_confusion(result["confusion"], names, when)
    if after["roc_auc"] is not None:
        figure = diagnostics.roc(rows.logits_after, rows.labels, names, before=rows.logits_before)
        drawn["roc"] = figure, f"ROC curve: area {after['roc_auc']:.3f} after training."
    if run.get("depths"):
        drawn["depth"] = plots.depth(run["depths"]), "Line chart of the adjacent table: accuracy over minutes."
    return {
        name: Markup(style.svg(figure, name=name, description=description))
        for name, (figure, description) in drawn.items()
    }


def _describe_comparison(before: dict, after: dict) -> str:
    first, second = (formatting.value("accuracy", result["accuracy"]) for result in (before, after))
    return f"Bar chart: accuracy {first} before training, {second} after."


def _describe_curve(epochs: list[dict], name: str) -> str:
    parts = [
        f"{kind} {name} from {formatting.fixed(epochs[0][column], 3)} to {formatting.fixed(epochs[-1][column], 3)}"
        for kind, column in (("training", name), ("validation", f"val_{name}"))
        if epochs[0].get(column) is not None and epochs[-1].get(column) is not None
    ]
    return f"Line chart over {len(epochs)} epochs: {', '.join(parts)}."


def _describe_confusion(counts: list[list[int]], names: Sequence[str], when: str) -> str:
    hits = ", ".join(f"{counts[n][n]:,} of {sum(counts[n]):,} {name}" for n, name in enumerate(names))
    return f"Confusion matrix {when} training; correct: {hits}."


def _without_leaks(run: dict[str, Any], rows: ReportedRows) -> dict[str, Any] | None:
    """Evaluates the rows that are in no other split; None if these are all rows or none."""
    leaked = (run.get("leaks") or {}).get("leaked_rows", [])
    if not 0 < len(leaked) < len(rows.labels):
        return None
    return metrics.evaluate(np.delete(rows.logits_after, leaked, axis=0), np.delete(rows.labels, leaked))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text[:LONGEST_TEXT])


def _examples(rows: ReportedRows, names: Sequence[str], numbers: list[int]) -> list[dict[str, Any]]:
    """Returns the first examples of some rows: {"name", "text", "true", "predicted", "confidence"}."""
    shown = []
    for row in numbers[:SHOWN]:
        probabilities = softmax(np.asarray(rows.logits_after[row], np.float64))
        predicted = int(probabilities.argmax())
        shown.append(
            {
                "name": rows.names[row],
                "text": _printable(rows.texts[row]),
                "true": names[int(rows.labels[row])],
                "predicted": names[predicted],
                "confidence": float(probabilities[predicted]),
            }
        )
    return shown
