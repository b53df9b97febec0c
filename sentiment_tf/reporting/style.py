"""How every picture of the project looks, and how it becomes a PNG or part of a page."""

import functools
import html
import io
import os
import re
import warnings
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

# Okabe and Ito 2008, "Color Universal Design": told apart with every common kind of colour vision.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
INK, MUTED, GRID = "#1b1f24", "#5b6570", "#d9dde2"
CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, INK)

LONGEST_NAME = 18  # characters of a class' name in a picture

# A page's own colours take the place of these, so that a picture follows it into the dark.
_PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: f"var(--muted, {MUTED})",
    GRID: f"var(--grid, {GRID})",
    BLUE: f"var(--blue, {BLUE})",
    VERMILLION: f"var(--vermillion, {VERMILLION})",
}

_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a label's name may hold a dollar
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
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
    "svg.hashsalt": "sentiment_tf",  # the same picture is the same file
}


def styled(draw: Callable) -> Callable:
    """Runs a drawing function in the project's style, whatever matplotlib's own settings are.

    A name in a script that the font lacks is drawn as boxes in a PNG (a page takes a font of its reader's);
    matplotlib would warn of each such character.
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
    """Returns (Figure, list of Axes side by side), ``width`` inches each, without pyplot's global state."""
    drawn = Figure(figsize=(width * panels, height), layout="constrained")
    drawn.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return drawn, list(drawn.subplots(1, panels, squeeze=False)[0])


def short(name: str) -> str:
    """Returns a class' name, cut where it would take the picture's place."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def percent(axis: Axis, *, ticks: int = 6) -> None:
    """Labels an axis in whole percent, or in tenths where it is zoomed in so far."""
    axis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10]))
    low, high = axis.get_view_interval()
    axis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.05 else 1))


def draw_interval(
    axes: Axes, place: float, value: float, edges: list[float] | None, *, horizontal: bool = False
) -> float:
    """Draws an interval [low, high] around a value unless it is None; returns where it ends."""
    if edges is None:
        return value
    lengths = [[max(0, value - edges[0])], [max(0, edges[1] - value)]]
    x, y = (value, place) if horizontal else (place, value)
    axes.errorbar(x, y, **{"xerr" if horizontal else "yerr": lengths}, color=INK, linewidth=1.6, fmt="none")
    return max(edges[1], value)


@styled
def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, legible at half its size."""
    figure.savefig(path, format="png", dpi=160, facecolor="white", metadata={"Software": None})


@styled
def pixels(figure: Figure) -> np.ndarray:
    """Returns a figure as uint8[height, width, 4], on white."""
    figure.set(dpi=110, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


@styled
def svg(figure: Figure, *, name: str, description: str) -> str:
    """Returns a figure as an SVG element to stand in a page.

    Args:
      name: of the picture, unlike any other's on the page; every id in it begins so.
      description: what a person who cannot see it is told.

    Returns:
      str without anything that a page would have to fetch. Text and lines take the page's ``color`` and its
      variables ``--muted``, ``--grid``, ``--blue`` and ``--vermillion`` where it has them.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    body = written.getvalue()
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body).groups()
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style).*?</\1>", "", body, flags=re.DOTALL)  # both would reach beyond the picture
    body = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = body.replace("'DejaVu Sans'", "inherit")
    for colour, variable in _PAGE_COLOURS.items():
        body = body.replace(colour, variable)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(description)}" '
        f'stroke-linejoin="round">{body.strip()}'
    )
