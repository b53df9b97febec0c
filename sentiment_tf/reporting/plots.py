"""Figures of training and of its results; each function returns a Figure for ``style.save``."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sentiment_tf.reporting import formatting
from sentiment_tf.reporting.style import BLUE, MUTED, VERMILLION, draw_interval, figure, percent, styled
from sentiment_tf.reporting.style import save as save  # callers draw and write with one module


@styled
def history(epochs: list[dict], *, before: dict | None = None) -> Figure:
    """Draws loss and accuracy over epochs, side by side.

    Args:
      epochs: list of {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"}, in order; values
        that are missing or None are not drawn. "seconds" is the duration of the epoch.
      before: {"loss", "accuracy"} of the untrained model on the validation rows, drawn as epoch 0.
    """
    drawn, (left, right) = figure(2, height=3.8)
    _loss(left, epochs, before)
    _accuracy(right, epochs, before)
    return drawn


@styled
def loss(epochs: list[dict], *, before: dict | None = None) -> Figure:
    """Draws loss over epochs: the left half of ``history``."""
    drawn, (axes,) = figure()
    _loss(axes, epochs, before)
    return drawn


@styled
def accuracy(epochs: list[dict], *, before: dict | None = None) -> Figure:
    """Draws accuracy over epochs: the right half of ``history``."""
    drawn, (axes,) = figure()
    _accuracy(axes, epochs, before)
    return drawn


@styled
def comparison(before: dict, after: dict) -> Figure:
    """Draws accuracy before and after training, with intervals.

    Args:
      before, after: from ``metrics.evaluate``; "intervals" and "confusion" may be missing.
    """
    drawn, (axes,) = figure(height=3.8)
    largest = max(map(sum, after["confusion"])) / after["examples"] if "confusion" in after else None
    for position, (result, colour) in enumerate([(before, MUTED), (after, BLUE)]):
        value = result["accuracy"]
        axes.bar(position, value, width=0.55, color=colour, alpha=0.85)
        top = draw_interval(axes, position, value, result.get("intervals", {}).get("accuracy"))
        if largest and top < largest < top + 0.12:  # the line would go through the number
            top = largest
        axes.annotate(
            f"{value:.1%}",
            (position, top),
            (0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            weight="bold",
            size=13,
        )
    if largest:
        label = f"always the {'larger' if len(after['confusion']) == 2 else 'largest'} class: {largest:.1%}"
        axes.axhline(largest, color=VERMILLION, linestyle=(0, (4, 3)), linewidth=1.6, label=label)
        drawn.legend(loc="outside lower center", fontsize=10)  # inside, it would cover a bar of 100 %
    axes.set(xticks=[0, 1], xticklabels=["before", "after"], xlim=(-0.6, 1.6), ylim=(0, 1.15))
    axes.set(xlabel="training", ylabel=f"accuracy on {after['examples']:,} examples")
    axes.set_title("Accuracy before and after training")
    percent(axes.yaxis)
    axes.grid(axis="x", visible=False)
    return drawn


@styled
def depth(rows: list[dict]) -> Figure:
    """Draws accuracy and time of each depth that a search has trained.

    Args:
      rows: list of {"trainable_layers", "accuracy", "seconds"} on validation rows, with "interval" and
        "chosen" (bool) if known.
    """
    drawn, (axes,) = figure(height=3.8)
    minutes = [row["seconds"] / 60 for row in rows]
    axes.plot(minutes, [row["accuracy"] for row in rows], color=MUTED, linewidth=1.2)
    for row, minute in zip(rows, minutes, strict=True):
        colour = BLUE if row.get("chosen") else MUTED
        top = draw_interval(axes, minute, row["accuracy"], row.get("interval"))
        axes.plot(minute, row["accuracy"], "o", color=colour, markersize=11 if row.get("chosen") else 7)
        name = f"{row['trainable_layers']}" + (" (chosen)" if row.get("chosen") else "")
        axes.annotate(
            name,
            (minute, top),
            (0, 8),
            textcoords="offset points",
            ha="center",
            weight="bold",
            size=10,
        )
    axes.margins(x=0.12, y=0.25)
    axes.set_xlim(left=0)
    axes.set(xlabel="minutes", ylabel="validation accuracy", title="Trained blocks: accuracy and time")
    percent(axes.yaxis)
    return drawn


@styled
def runs(rows: list[dict]) -> Figure:
    """Draws the accuracy of several runs with their intervals, in the order given.

    Args:
      rows: list of {"name", "accuracy", "interval"}; the interval may be None.
    """
    drawn, (axes,) = figure(width=7, height=1.3 + 0.42 * len(rows))
    for position, row in enumerate(rows):
        end = draw_interval(axes, position, row["accuracy"], row.get("interval"), horizontal=True)
        axes.plot(row["accuracy"], position, "o", color=BLUE, markersize=9)
        axes.annotate(
            f"{row['accuracy']:.1%}",
            (end, position),
            (8, 0),
            textcoords="offset points",
            va="center",
            size=10,
        )
    axes.margins(x=0.25)
    axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6), xlabel="accuracy", title="Runs by accuracy")
    names = [formatting.one_line(row["name"]) for row in rows]
    axes.set_yticklabels([name if len(name) <= 32 else f"…{name[-31:]}" for name in names])
    percent(axes.xaxis, ticks=5)
    axes.grid(axis="y", visible=False)
    return drawn


def _loss(axes, epochs, before):
    lines = {
        "training": _points(epochs, "loss"),
        "validation": _points(epochs, "val_loss", before and before.get("loss")),
    }
    _curves(axes, epochs, lines)
    axes.set(title="Loss over training", ylabel="uncalibrated cross-entropy (nats)")


def _accuracy(axes, epochs, before):
    lines = {
        "training": _points(epochs, "accuracy"),
        "validation": _points(epochs, "val_accuracy", before and before.get("accuracy")),
    }
    _curves(axes, epochs, lines)
    axes.set(title="Accuracy over training", ylabel="accuracy")
    low, high = axes.get_ylim()
    if high - low < 0.05:  # a single epoch, or epochs that hardly differ: noise should not look like a trend
        low, high = (low + high) / 2 - 0.025, (low + high) / 2 + 0.025
    axes.set_ylim(max(low, -0.04 * (high - low)), min(high, 1 + 0.15 * (high - low)))
    percent(axes.yaxis)
    if lines["validation"]:
        _mark_best(axes, *max(lines["validation"], key=lambda point: point[1]))


def _mark_best(axes, epoch: float, best: float) -> None:
    """Writes the best accuracy above its point, between the left and the right end of the axes."""
    first, last = axes.get_xlim()
    across = (epoch - first) / (last - first)
    axes.annotate(
        f"best {best:.1%}",
        (epoch, best),
        (0, 9),
        textcoords="offset points",
        ha="left" if across < 0.15 else "right" if across > 0.85 else "center",
        va="bottom",
        weight="bold",
        size=10,
    )


def _points(epochs, column, start=None):
    """Returns [(epoch, value)], with epoch 0 first if its value is given."""
    points = [(row["epoch"], row[column]) for row in epochs if row.get(column) is not None]
    return [(0, start), *points] if points and start is not None else points


def _curves(axes, epochs, lines):
    """Draws training and validation over epochs, with elapsed time below the epoch numbers."""
    for (label, points), (colour, line, marker) in zip(
        lines.items(), [(VERMILLION, (0, (5, 2)), "s"), (BLUE, "-", "o")], strict=True
    ):
        if points:
            marks = {"marker": marker} if len(points) <= 20 else {}
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=line, label=label, **marks)
    last = max((row["epoch"] for row in epochs), default=1)
    first = min((point[0] for points in lines.values() for point in points), default=0)
    room = 0.06 * (last - first) or 0.5
    axes.set_xlim(first - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.margins(y=0.18)
    clock, unit = _clock(epochs)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda epoch, _: _epoch_label(epoch, clock)))
    axes.set_xlabel(f"epoch, and {unit} since the start" if clock else "epoch")
    axes.legend(loc="best", fontsize=10)


def _clock(epochs: list[dict]) -> tuple[dict[int, str], str]:
    """Returns ({epoch: elapsed time at its end}, unit); empty if times are unknown."""
    seconds = [row.get("seconds") for row in epochs]
    if not seconds or None in seconds:
        return {}, ""
    ends = np.cumsum(seconds)
    unit, scale = ("seconds", 1) if ends[-1] < 120 else ("minutes", 60) if ends[-1] < 7200 else ("hours", 3600)
    decimals = 1 if ends[-1] / scale < 20 else 0
    return {row["epoch"]: f"{end / scale:.{decimals}f}" for row, end in zip(epochs, ends, strict=True)}, unit


def _epoch_label(epoch: float, clock: dict[int, str]) -> str:
    if epoch != round(epoch):
        return ""
    return f"{epoch:.0f}\n{clock[round(epoch)]}" if round(epoch) in clock else f"{epoch:.0f}"
