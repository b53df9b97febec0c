"""Numbers as text, the same on the terminal, in the report and in the model card."""

import os
import re
from typing import TextIO

UNKNOWN = "–"

_LINE_ENDS = re.compile(r"[\t-\r\x85\u2028\u2029]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def fixed(number: float, decimals: int, *, sign: str = "-") -> str:
    """Formats a number with so many decimals; what rounds to zero has no sign, not "-0.000".

    Args:
      number: what to format.
      decimals: digits behind the point.
      sign: "-" for negative numbers only, "+" for positive ones too.
    """
    text = f"{number:{sign}.{decimals}f}"
    return text if float(text) else text.lstrip("+-")


def signed(number: float, decimals: int) -> str:
    """Formats a difference: "+26.4", "-0.181", "0.0"."""
    return fixed(number, decimals, sign="+")


def one_line(name: str) -> str:
    """Returns a name of a class or a run on one line: line ends become a space, control characters U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", _LINE_ENDS.sub(" ", name))


def wants_colour(stream: TextIO) -> bool:
    """Returns whether a text stream is a terminal that shows colours and NO_COLOR is not set."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def value(name: str, number: float | None) -> str:
    """Formats a metric: accuracy as "76.4 %", loss as "0.512"; None as a dash."""
    if number is None:
        return UNKNOWN
    scale, decimals = _scale(name)
    return fixed(number * scale, decimals) + (" %" if _metric(name).as_percent else "")


def interval(name: str, edges: list[float] | None) -> str:
    """Formats a metric's interval without its unit: "73.5 to 79.0"; None as an empty string."""
    if edges is None:
        return ""
    scale, decimals = _scale(name)
    return " to ".join(fixed(edge * scale, decimals) for edge in edges)


def change(name: str, before: float | None, after: float | None) -> str:
    """Formats the difference between two values: accuracy in points as "+26.4", loss as "-0.181"."""
    if before is None or after is None:
        return ""
    scale, decimals = _scale(name)
    return signed((after - before) * scale, decimals)


def improved(name: str, before: float | None, after: float | None) -> bool | None:
    """Returns whether a change is an improvement (True), a decline (False), or too small to be shown (None)."""
    if before is None or after is None or change(name, before, after).strip("+-0.") == "":
        return None
    return (after > before) == _metric(name).higher_is_better


def p_value(number: float) -> str:
    """Formats a p-value: "p = 0.031", "p < 0.001"."""
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"


def gain(comparison: dict) -> str:
    """Formats the difference in accuracy of ``comparison.compare``: "+2.3 points (95 % interval +0.9 to +3.7)"."""
    shares = (comparison["accuracy_difference"], *comparison["interval"])
    points, low, high = (signed(100 * share, 1) for share in shares)
    return f"{points} points (95 % interval {low} to {high})"


def verdict(comparison: dict, *, first: str = "before", second: str = "after") -> str:
    """Formats the result of ``comparison.compare`` as a sentence."""
    test = f"McNemar's exact test, {p_value(comparison['p_value'])}"
    return (
        f"{second} is right and {first} wrong on {comparison['fixed']:,} "
        f"of {comparison['examples']:,} texts, the reverse on {comparison['broken']:,} ({test}): "
        f"a difference in accuracy of {gain(comparison)}"
    )


def duration(seconds: float | None) -> str:
    """Formats a duration: "0.4 s", "52 s", "3 min 05 s", "2 h 10 min"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float | None) -> str:
    """Formats a number of bytes: "512 B", "83.9 MB", "1.2 GB" (powers of 1000)."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def count(number: int | None) -> str:
    """Formats a whole number with thousands separators."""
    return UNKNOWN if number is None else f"{number:,}"


def _scale(name: str) -> tuple[int, int]:
    """Returns what a metric is multiplied by, and its decimals."""
    return (100, 1) if _metric(name).as_percent else (1, 3)


def _metric(name: str):
    from sentiment_tf.evaluation import metrics  # here, for the doctor formats sizes where NumPy is missing

    return metrics.by_name(name)
