"""``report.html``: a run on one page that needs nothing but itself."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from scipy.special import softmax

from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import diagnostics, formatting, plots, style, templates

SHOWN = 12  # examples of each kind
LONGEST_TEXT = 5_000  # characters

# What a page may not hold: control characters, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def write(
    path: str | os.PathLike,
    *,
    run: dict[str, Any],
    texts: Sequence[str],
    labels: np.ndarray,
    logits_before: np.ndarray,
    logits_after: np.ndarray,
    lengths: np.ndarray,
    truncated: np.ndarray,
) -> None:
    """Writes the page about a run and the rows it is reported on.

    Sections whose data the run lacks ("depths", "leaks", "calibration", "export", …) are absent.

    Args:
      path: of the HTML file.
      run: content of run.json.
      texts: str[rows]; they are escaped, whatever they hold.
      labels: int[rows].
      logits_before, logits_after: float32[rows, classes].
      lengths: int[rows], tokens as the model read them.
      truncated: bool[rows].
    """
    rows = {"texts": texts, "labels": np.asarray(labels), "names": run["label_names"]}
    tables = {
        "by_length": metrics.by_length(logits_after, labels, lengths),
        "by_truncation": metrics.by_truncation(logits_after, labels, truncated),
    }
    comparison = metrics.compare(logits_before, logits_after, labels)
    page = templates.render(
        "report.html.jinja",
        run=run,
        before=run["metrics"]["before"],
        after=run["metrics"]["after"],
        comparison=comparison,
        tables=tables,
        without_leaks=_without_leaks(run, labels, logits_after),
        printable=_printable,
        pictures=_pictures(run, labels, logits_before, logits_after, tables["by_length"]),
        mistakes=_examples(**rows, logits=logits_after, among=metrics.mistakes(logits_after, labels)),
        fixed=_examples(**rows, logits=logits_after, among=comparison["fixed_rows"]),
        broken=_examples(**rows, logits=logits_after, among=comparison["broken_rows"]),
    )
    Path(path).write_text(page, encoding="utf-8")


def _pictures(
    run: dict[str, Any],
    labels: np.ndarray,
    logits_before: np.ndarray,
    logits_after: np.ndarray,
    by_length: list[dict],
) -> dict[str, Markup]:
    """Draws everything the run has data for; {name: SVG}."""
    before, after = run["metrics"]["before"], run["metrics"]["after"]
    names, epochs = run["label_names"], run.get("history") or []
    start = before if run.get("data", {}).get("report_split") == "validation" else None
    temperature = (run.get("calibration") or {}).get("temperature", 1.0)
    drawn: dict[str, tuple[Figure, str]] = {
        "comparison": (plots.comparison(before, after), _tell_comparison(before, after)),
        "reliability": (
            diagnostics.reliability(logits_after, labels, temperature=temperature),
            f"Reliability diagram: accuracy against confidence; calibration error {after['ece']:.3f}.",
        ),
        "by_length": (diagnostics.by_length(by_length), "Bar chart of the table beside: accuracy by length."),
    }
    if epochs:
        drawn["loss"] = plots.loss(epochs, before=start), _tell_curve(epochs, "loss")
        drawn["accuracy"] = plots.accuracy(epochs, before=start), _tell_curve(epochs, "accuracy")
    for when, result in (("before", before), ("after", after)):
        picture = diagnostics.confusion(result["confusion"], names, title=f"Confusion {when} training")
        drawn[f"confusion_{when}"] = picture, _tell_confusion(result["confusion"], names, when)
    if after["roc_auc"] is not None:
        picture = diagnostics.roc(logits_after, labels, names, before=logits_before)
        drawn["roc"] = picture, f"ROC curve: area {after['roc_auc']:.3f} after training."
    if run.get("depths"):
        drawn["depth"] = plots.depth(run["depths"]), "The table beside as a picture: accuracy over minutes."
    return {
        name: Markup(style.svg(picture, name=name, description=description))
        for name, (picture, description) in drawn.items()
    }


def _tell_comparison(before: dict, after: dict) -> str:
    first, second = (formatting.value("accuracy", result["accuracy"]) for result in (before, after))
    return f"Bar chart: accuracy {first} before training, {second} after."


def _tell_curve(epochs: list[dict], name: str) -> str:
    parts = [
        f"{kind} {name} from {epochs[0][column]:.3f} to {epochs[-1][column]:.3f}"
        for kind, column in (("training", name), ("validation", f"val_{name}"))
        if epochs[0].get(column) is not None and epochs[-1].get(column) is not None
    ]
    return f"Line chart over {len(epochs)} epochs: {', '.join(parts)}."


def _tell_confusion(counts: list[list[int]], names: Sequence[str], when: str) -> str:
    hits = ", ".join(f"{counts[n][n]:,} of {sum(counts[n]):,} {name}" for n, name in enumerate(names))
    return f"Confusion matrix {when} training; right were {hits}."


def _without_leaks(run: dict[str, Any], labels: np.ndarray, logits: np.ndarray) -> dict[str, Any] | None:
    """Measures the rows that stand in no other split; None where that is all of them or none."""
    leaked = (run.get("leaks") or {}).get("leaked_rows", [])
    if not 0 < len(leaked) < len(labels):
        return None
    return metrics.evaluate(np.delete(logits, leaked, axis=0), np.delete(labels, leaked))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text[:LONGEST_TEXT])


def _examples(
    *, texts: Sequence[str], labels: np.ndarray, names: Sequence[str], logits: np.ndarray, among: list[int]
) -> list[dict[str, Any]]:
    """Returns what to show of some rows: {"row", "text", "true", "predicted", "confidence"}."""
    shown = []
    for row in among[:SHOWN]:
        probabilities = softmax(np.asarray(logits[row], np.float64))
        predicted = int(probabilities.argmax())
        shown.append(
            {
                "row": row,
                "text": _printable(texts[row]),
                "true": names[int(labels[row])],
                "predicted": names[predicted],
                "confidence": float(probabilities[predicted]),
            }
        )
    return shown
