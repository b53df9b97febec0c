"""The table of a run's exports, the same on the terminal, in the report and in the model card."""

from collections.abc import Mapping, Sequence
from typing import Any

from sentiment_tf.exporting import formats
from sentiment_tf.reporting import formatting

HEADINGS = ("format", "precision", "size", "one text", "many texts", "largest difference", "accuracy")


def cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the cells of each export, in the order of `HEADINGS`.

    Args:
      rows: ``exports`` of run.json. Sizes are of the weights' file, the SavedModel's of its folder.
    """
    return [
        [
            formats.by_name(row["format"]).title,
            row["precision"],
            formatting.size(row["bytes"]),
            f"{row['latency_ms']['1']:.1f} ms",
            f"{row['texts_per_second']:,.0f} texts/s",
            f"{row['largest_difference']:.1g}",
            _accuracy(row),
        ]
        for row in rows
    ]


def _accuracy(row: Mapping[str, Any]) -> str:
    """Returns what an export's accuracy is, beside the trained model's on the same rows."""
    if "left out" in (row["problem"] or ""):
        return f"left out: {_points(row)}" if "accuracy" in row else "left out"
    if "accuracy" not in row:
        return "as trained"
    return f"{formatting.value('accuracy', row['accuracy'])} ({_points(row)})"


def _points(row: Mapping[str, Any]) -> str:
    difference, low, high = (
        formatting.signed(100 * share, 1) for share in (row["accuracy_difference"], *row["interval"])
    )
    return f"{difference} points, 95 % interval {low} to {high}, {formatting.count(row['rows'])} texts"
