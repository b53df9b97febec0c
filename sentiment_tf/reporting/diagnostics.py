"""Figures of a model's predictions and errors; each function returns a Figure for ``style.save``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from sentiment_tf.evaluation import calibration
from sentiment_tf.reporting.style import (
    BLUE,
    CYCLE,
    MUTED,
    VERMILLION,
    draw_interval,
    figure,
    percent,
    short,
    styled,
)

FEW_CLASSES = 10  # a confusion matrix of more is drawn larger, and its cells hold no shares
TICKS = 25  # class names along an axis of a confusion matrix; cells of more classes hold no numbers
ROC_CLASSES = len(CYCLE)  # at most one curve per colour
_LIGHTEST, _DARKEST = 0.06, 0.56  # opacity of a share of 0 and of 1


@styled
def confusion(counts: npt.ArrayLike, label_names: Sequence[str], *, title: str = "Confusion") -> Figure:
    """Draws a confusion matrix; a cell's colour shows its share of the true class.

    With more than ten classes the figure is larger and the cells hold numbers without shares; with more than 25, the
    cells are empty and not every class is named.

    Args:
      counts: int[true class][predicted class].
      label_names: one str per class.
      title: title of the figure.
    """
    cells = np.asarray(counts)
    classes = len(cells)
    larger = max(1, min(classes, TICKS) / 12)
    drawn, (axes,) = figure(width=4.8 * larger, height=3.8 * larger)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    if classes <= TICKS:
        _cells(axes, cells, shares)
    else:
        shades = LinearSegmentedColormap.from_list("share", [to_rgba(BLUE, _LIGHTEST), to_rgba(BLUE, _DARKEST)])
        axes.imshow(shares, cmap=shades, vmin=0, vmax=1, extent=(0, classes, classes, 0), aspect="auto")
    named = np.arange(0, classes, -(-classes // TICKS))
    ticks, names = named + 0.485, [short(label_names[int(number)]) for number in named]
    axes.set(xlim=(0, classes), ylim=(classes, 0), xticks=ticks, yticks=ticks, title=title)
    size: dict[str, Any] = {} if classes <= FEW_CLASSES else {"size": 8}
    axes.set_xticklabels(names, rotation=0 if classes <= 3 else 45, ha="center" if classes <= 3 else "right", **size)
    axes.set_yticklabels(names, va="center", **size)  # not rotated: matplotlib scatters the letters of Arabic names
    axes.set(xlabel="predicted", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return drawn


def _cells(axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Draws a rectangle with its number, and for few classes its share, for each pair of classes."""
    for (true, predicted), share in np.ndenumerate(shares):
        alpha = _LIGHTEST + (_DARKEST - _LIGHTEST) * share
        axes.add_patch(Rectangle((predicted, true), 0.97, 0.97, color=BLUE, alpha=alpha, linewidth=0))
        axes.text(
            predicted + 0.485,
            true + 0.485,
            f"{counts[true, predicted]:,}" + f"\n{share:.0%}" * (len(counts) <= FEW_CLASSES),
            ha="center",
            va="center",
            size=max(8, 15 - len(counts)),
        )


@styled
def reliability(logits: np.ndarray, labels: np.ndarray, *, temperature: float = 1.0) -> Figure:
    """Draws a reliability diagram: accuracy against confidence. A larger dot stands for more rows.

    Args:
      logits: float32[rows, classes], as the exports answer.
      labels: int[rows].
      temperature: what the logits were divided by; if it is not 1, the logits before that are drawn as well.
    """
    drawn, (axes,) = figure(height=3.8)
    lowest = 1 / np.shape(logits)[1]
    axes.plot([lowest, 1], [lowest, 1], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4, label="perfect")
    logits = np.asarray(logits, np.float64)
    kinds = [("as trained", logits * temperature, VERMILLION, "s")]
    if temperature != 1:
        kinds.append((f"temperature {temperature:.2f}", logits, BLUE, "o"))
    for name, scaled, colour, marker in kinds:
        probabilities = softmax(scaled, axis=-1)
        rows = calibration.reliability(probabilities, labels)
        error = calibration.expected_calibration_error(probabilities, labels)
        confidence, share = ([row[key] for row in rows] for key in ("confidence", "accuracy"))
        area = [15 + 260 * row["examples"] / len(labels) for row in rows]
        axes.plot(confidence, share, color=colour, linewidth=1.4, alpha=0.7)
        axes.scatter(confidence, share, area, color=colour, marker=marker, alpha=0.85, label=f"{name}: ECE {error:.3f}")
    axes.set(xlabel="confidence", ylabel="accuracy", title="Reliability: accuracy by confidence")
    percent(axes.xaxis)
    percent(axes.yaxis)
    legend = axes.legend(loc="best", fontsize=10)
    for handle in legend.legend_handles[1:]:
        handle.set_sizes([50])  # type: ignore[attr-defined]  # each is a PathCollection
    return drawn


@styled
def roc(
    logits: np.ndarray, labels: np.ndarray, label_names: Sequence[str], *, before: np.ndarray | None = None
) -> Figure:
    """Draws the ROC curve, or with more than two classes one curve for each class against the rest.

    With many classes only those with the most rows are drawn; the title says how many.

    Args:
      logits: float32[rows, classes].
      labels: int[rows] of at least two classes.
      label_names: one str per class.
      before: float32[rows, classes] of the untrained model; with two classes drawn as a dashed curve.
    """
    drawn, (axes,) = figure(height=3.8)
    labels = np.asarray(labels)
    title = "ROC curve"
    if len(label_names) == 2:
        kinds: list[tuple] = [("after", logits, 1, BLUE, "-")]
        if before is not None:
            kinds.insert(0, ("before", before, 1, VERMILLION, (0, (5, 2))))
    else:
        rows = np.bincount(labels, minlength=len(label_names))
        largest = np.argsort(-rows, kind="stable")[:ROC_CLASSES]
        kinds = [
            (short(label_names[number]), logits, number, CYCLE[position], "-")
            for position, number in enumerate(np.sort(largest[rows[largest] > 0]))
        ]
        if (present := int((rows > 0).sum())) > ROC_CLASSES:
            title = f"ROC curve: {ROC_CLASSES} largest of {present} classes"
    for name, scores, number, colour, line in kinds:
        scores = softmax(np.asarray(scores, np.float64), axis=-1)[:, number]
        wrong, right, _ = roc_curve(labels == number, scores)
        axes.plot(wrong, right, color=colour, linestyle=line, label=f"{name}: area {auc(wrong, right):.3f}")
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (1, 2)), linewidth=1.4)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title, aspect="equal")
    axes.legend(loc="lower right", fontsize=10 if len(kinds) < 5 else 8)
    return drawn


@styled
def by_length(rows: list[dict]) -> Figure:
    """Draws accuracy by length.

    Args:
      rows: from ``breakdown.by_length``.
    """
    drawn, (axes,) = figure(height=3.8)
    for position, row in enumerate(rows):
        axes.bar(position, row["accuracy"], width=0.7, color=BLUE, alpha=0.85)
        top = draw_interval(axes, position, row["accuracy"], row.get("interval"))
        axes.annotate(
            f"{row['accuracy']:.0%}",
            (position, top),
            (0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            weight="bold",
        )
    spans = [f"{row['from']}–{row['to']}" if row["from"] < row["to"] else f"{row['to']}" for row in rows]
    axes.set(
        xticks=range(len(rows)),
        ylim=(0, 1.12),
        xlabel="length in tokens (and number of texts)",
        ylabel="accuracy",
    )
    axes.set_xticklabels([f"{span}\n({row['examples']:,})" for span, row in zip(spans, rows, strict=True)])
    percent(axes.yaxis)
    axes.set_title("Accuracy by length of text")
    axes.grid(axis="x", visible=False)
    return drawn


@styled
def precision_recall(logits: np.ndarray, labels: np.ndarray, name: str, threshold: dict[str, Any]) -> Figure:
    """Draws the precision-recall curve of the second of two classes, with the point of a decision threshold.

    Args:
      logits: float32[rows, 2].
      labels: int[rows] of both classes.
      name: the second class's name.
      threshold: as run.json has it: "value", "reported" and "larger_probability" with "precision" and "recall".
    """
    drawn, (axes,) = figure(height=3.8)
    scores = np.asarray(logits, np.float64) @ [-1.0, 1.0]  # in the order of the probabilities
    precision, recall, _ = precision_recall_curve(labels == 1, scores)
    axes.plot(recall, precision, color=BLUE, drawstyle="steps-post")
    points = (
        (f"threshold {threshold['value']:.3f}", threshold["reported"], VERMILLION, "o"),
        ("larger probability", threshold["larger_probability"], MUTED, "s"),
    )
    for label, point, colour, marker in points:
        place: dict[str, Any] = {"zorder": 3, "clip_on": False}  # on the axes' edge, too
        axes.scatter(point["recall"], point["precision"], 90, color=colour, marker=marker, label=label, **place)
    axes.set(xlabel="recall", ylabel="precision", title=f"Precision and recall of {short(name)}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(loc="lower left", fontsize=10)
    return drawn


@styled
def deletion(curve: dict[str, list[float]]) -> Figure:
    """Draws how the probability of an answer falls when words are deleted.

    Args:
      curve: from `attributions.deletion_curve`.
    """
    drawn, (axes,) = figure(height=3.8)
    kinds = (("random_words", "random words", MUTED, "s"), ("top_words", "words of the largest weight", BLUE, "o"))
    for name, label, colour, marker in kinds:
        axes.plot(curve["share"], curve[name], color=colour, marker=marker, label=f"without {label}")
    axes.set(ylim=(0, 1.05), xlabel="deleted share of the words", ylabel="mean probability of the answer")
    axes.set_title("Deleting words")
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(loc="lower left", fontsize=10)
    return drawn
