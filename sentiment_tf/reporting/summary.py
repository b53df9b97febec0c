"""The table at the end of a run or an evaluation, for a terminal."""

from collections.abc import Sequence
from typing import Any

from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import formatting

_GREEN, _RED, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


def table(columns: dict[str, dict[str, Any]], *, colour: bool = False) -> str:
    """Formats metrics as a table, one line each, with their 95 % intervals.

    Args:
      columns: {heading: dict from ``metrics.evaluate``}; two columns get a third one with the change.
      colour: whether headings and changes are coloured with escape codes.

    Returns:
      str of aligned lines without a newline at the end, without metrics that no column has.
    """
    results = list(columns.values())
    rows = [["", *columns, *(["change"] if len(columns) == 2 else [])]]
    paints = [[_BOLD] * len(rows[0])]
    for metric in metrics.METRICS:
        name = metric.name
        values = [result.get(name) for result in results]
        if all(value is None for value in values):
            continue
        cells = [_cell(name, result) for result in results]
        paint = None
        if len(values) == 2:
            cells.append(formatting.change(name, *values))
            paint = {True: _GREEN, False: _RED, None: None}[formatting.improved(name, *values)]
        rows.append([metric.label, *cells])
        paints.append([None] * len(values) + [None, paint])
    rows.append(["Examples", *(formatting.count(result.get("examples")) for result in results), ""])
    paints.append([None] * len(rows[-1]))
    return aligned(rows, paints if colour else None)


def over_seeds(seeds: Sequence[dict], ranges: dict[str, dict[str, float]]) -> str:
    """Formats mean and range of each metric over several trainings as a table.

    Args:
      seeds: run.json's rows, one per seed.
      ranges: {metric: {"mean", "least", "most"}}.
    """
    numbers = ", ".join(f"{row['seed']}{' (exported)' if row['chosen'] else ''}" for row in seeds)
    rows = [["over the seeds", "mean", "range"]]
    rows += [
        [
            metric.label,
            formatting.value(metric.name, found["mean"]),
            formatting.interval(metric.name, [found["least"], found["most"]]),
        ]
        for metric in metrics.METRICS
        if (found := ranges.get(metric.name))
    ]
    return f"seeds: {numbers}\n{aligned(rows)}"


def _cell(name, result):
    edges = formatting.interval(name, result.get("intervals", {}).get(name))
    return f"{formatting.value(name, result.get(name)):>6}" + (f"  [{edges}]" if edges else "")


def aligned(rows: Sequence[Sequence[str]], paints: Sequence[Sequence[str | None]] | None = None) -> str:
    """Formats rows of cells as aligned lines.

    Args:
      rows: cells as text, each shown on one line; rows may be shorter than the first one.
      paints: per cell an escape code for its colour, or None.
    """
    rows = [[formatting.one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        if paints:
            cells = [
                f"{paint}{cell}{_PLAIN}" if paint else cell for cell, paint in zip(cells, paints[number], strict=False)
            ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
