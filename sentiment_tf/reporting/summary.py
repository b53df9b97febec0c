"""The table at the end of a run or an evaluation, for a terminal."""

import os
from collections.abc import Sequence
from typing import Any, TextIO

from sentiment_tf.reporting import formatting

_GREEN, _RED, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


def wants_colour(stream: TextIO) -> bool:
    """Tells whether a text stream is a terminal that shows colours; NO_COLOR in the environment says no."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(columns: dict[str, dict[str, Any]], *, colour: bool = False) -> str:
    """Lays out metrics, one line each, with their 95 % intervals.

    Args:
      columns: {heading: dict of ``metrics.evaluate``}; two columns get a third that says what changed.
      colour: whether to mark headings and changes with terminal colours.

    Returns:
      str of aligned lines without a newline at the end. Metrics that no column has are left out.
    """
    results = list(columns.values())
    rows = [["", *columns, *(["change"] if len(columns) == 2 else [])]]
    paints = [[_BOLD] * len(rows[0])]
    for name, (label, _, _) in formatting.METRICS.items():
        values = [result.get(name) for result in results]
        if all(value is None for value in values):
            continue
        cells = [_cell(name, result) for result in results]
        paint = None
        if len(values) == 2:
            cells.append(formatting.change(name, *values))
            paint = {True: _GREEN, False: _RED, None: None}[formatting.improved(name, *values)]
        rows.append([label, *cells])
        paints.append([None] * len(values) + [None, paint])
    rows.append(["Examples", *(formatting.count(result.get("examples")) for result in results), ""])
    paints.append([None] * len(rows[-1]))
    return aligned(rows, paints if colour else None)


def _cell(name, result):
    edges = formatting.interval(name, result.get("intervals", {}).get(name))
    return f"{formatting.value(name, result.get(name)):>6}" + (f"  [{edges}]" if edges else "")


def aligned(rows: Sequence[Sequence[str]], paints: Sequence[Sequence[str | None]] | None = None) -> str:
    """Pads cells to their column's width; paints are escape codes around the padded text, or None."""
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        if paints:
            cells = [
                f"{paint}{cell}{_PLAIN}" if paint else cell for cell, paint in zip(cells, paints[number], strict=False)
            ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
