"""The style of every figure, and its conversion to PNG, pixels and SVG."""

import functools
import html
import io
import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sentiment_tf.reporting import formatting

# Okabe and Ito 2008, "Color Universal Design": distinguishable with every common type of colour vision.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
INK, MUTED, GRID = "#1b1f24", "#5b6570", "#d9dde2"
CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, INK)

LONGEST_NAME = 18  # characters of a class name in a figure

# In a page these are replaced by its CSS variables, so that figures follow its dark colour scheme.
_PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: f"var(--muted, {MUTED})",
    GRID: f"var(--grid, {GRID})",
    BLUE: f"var(--blue, {BLUE})",
    VERMILLION: f"var(--vermillion, {VERMILLION})",
}

_SETTINGS = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a class name may contain a dollar sign
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "errorbar.capsize": 5,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: smaller, selectable, in the page's font
    "svg.hashsalt": "sentiment_tf",  # the same figure gives the same file
}


def styled(draw: Callable) -> Callable:
    """Runs a drawing function in the project's style, independent of the user's matplotlib settings.

    Characters that the font lacks are drawn as boxes in a PNG (a page uses its reader's fonts); matplotlib's warning
    for each of them is hidden.
    """

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"(Glyph \d+|Matplotlib currently does not support)")
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            return draw(*args, **kwargs)

    return wrapper


def figure(panels: int = 1, *, width: float = 4.8, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """Returns (Figure, list of Axes side by side), ``width`` inches each; created without pyplot's global state."""
    drawn = Figure(figsize=(width * panels, height))
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    return drawn, list(drawn.subplots(1, panels, squeeze=False)[0])


def short(name: str) -> str:
    """Returns a class name on one line, shortened to ``LONGEST_NAME`` characters."""
    name = formatting.one_line(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def percent(axis: Axis, *, ticks: int = 6) -> None:
    """Labels an axis from 0 to 100 %, in whole percent, or in tenths if it spans 5 points or less."""
    low, high = axis.get_view_interval()
    values = MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]).tick_values(low, high)
    axis.set_ticks([value for value in values if max(low, 0) <= value <= min(high, 1 + 1e-9)])
    axis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.05 else 1))


def draw_interval(
    axes: Axes, position: float, value: float, edges: list[float] | None, *, horizontal: bool = False
) -> float:
    """Draws an interval [low, high] around a value unless it is None; returns its upper end."""
    if edges is None:
        return value
    lengths = [[max(0, value - edges[0])], [max(0, edges[1] - value)]]
    x, y = (value, position) if horizontal else (position, value)
    across: dict[str, Any] = {"xerr" if horizontal else "yerr": lengths}
    axes.errorbar(x, y, **across, color=INK, linewidth=1.6, fmt="none")
    return max(edges[1], value)


@styled
def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG in 160 dpi, which stays legible at half its size."""
    figure.savefig(path, format="png", dpi=160, facecolor="white", metadata={"Software": None})


@styled
def pixels(figure: Figure) -> np.ndarray:
    """Returns a figure as uint8[height, width, 4] on a white background."""
    figure.set(dpi=110, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


@styled
def svg(figure: Figure, *, name: str, description: str) -> str:
    """Returns a figure as an SVG element for an HTML page.

    Args:
      name: name of the figure, unique on the page; prefix of every id in the SVG.
      description: text for screen readers.

    Returns:
      str that refers to nothing outside itself. Text and lines use the page's ``color`` and, if defined, its CSS
      variables ``--muted``, ``--grid``, ``--blue`` and ``--vermillion``.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    body = written.getvalue()
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body).groups()
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style).*?</\1>", "", body, flags=re.DOTALL)  # both apply to the whole page
    body = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = body.replace("'DejaVu Sans'", "inherit")
    for colour, variable in _PAGE_COLOURS.items():
        body = body.replace(colour, variable)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(description)}" '
        f'stroke-linejoin="round">{body.strip()}'
    )
