"""How numbers are written, the same on the terminal, the page and the model card."""

# Metric -> (label, whether more is better, whether it is shown in percent).
METRICS = {
    "accuracy": ("Accuracy", True, True),
    "macro_f1": ("Macro F1", True, True),
    "mcc": ("Matthews correlation", True, False),
    "roc_auc": ("ROC-AUC", True, False),
    "average_precision": ("Average precision", True, False),
    "loss": ("Loss (cross-entropy)", False, False),
    "brier": ("Brier score", False, False),
    "ece": ("Calibration error (ECE)", False, False),
}
UNKNOWN = "–"


def value(name: str, number: float | None) -> str:
    """Writes a metric: accuracy as "76.4 %", loss as "0.512"; None as a dash."""
    if number is None:
        return UNKNOWN
    return f"{number:.1%}".replace("%", " %") if METRICS[name][2] else f"{number:.3f}"


def interval(name: str, edges: list[float] | None) -> str:
    """Writes a metric's interval without its unit: "73.5 to 79.0"; None as nothing."""
    if edges is None:
        return ""
    scale, decimals = (100, 1) if METRICS[name][2] else (1, 3)
    return " to ".join(f"{edge * scale:.{decimals}f}" for edge in edges)


def change(name: str, before: float | None, after: float | None) -> str:
    """Writes what was gained: accuracy in points as "+26.4", loss as "-0.181"."""
    if before is None or after is None:
        return ""
    scale, decimals = (100, 1) if METRICS[name][2] else (1, 3)
    return f"{(after - before) * scale:+.{decimals}f}"


def improved(name: str, before: float | None, after: float | None) -> bool | None:
    """Tells whether a change is for the better (True), the worse (False) or neither (None)."""
    if before is None or after is None or change(name, before, after).strip("+-0.") == "":
        return None
    return (after > before) == METRICS[name][1]


def p_value(number: float) -> str:
    """Writes a p-value: "p = 0.031", "p < 0.001"."""
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"


def gain(comparison: dict) -> str:
    """Writes the paired difference in accuracy of ``metrics.compare``: "+2.3 points (95 % interval +0.9 to +3.7)"."""
    shares = (comparison["accuracy_difference"], *comparison["interval"])
    points, low, high = (f"{100 * share:+.1f}" for share in shares)
    return f"{points} points (95 % interval {low} to {high})"


def verdict(comparison: dict, *, first: str = "before", second: str = "after") -> str:
    """Says in a sentence what ``metrics.compare`` found."""
    test = f"McNemar's exact test, {p_value(comparison['p_value'])}"
    return (
        f"{second} is right and {first} wrong on {comparison['fixed']:,} "
        f"of {comparison['examples']:,} texts, the reverse on {comparison['broken']:,} ({test}): "
        f"a difference in accuracy of {gain(comparison)}"
    )


def duration(seconds: float | None) -> str:
    """Writes seconds as a person would: "0.4 s", "52 s", "3 min 05 s", "2 h 10 min"."""
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
    """Writes bytes as "512 B", "83.9 MB", "1.2 GB" (powers of 1000)."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def count(number: int | None) -> str:
    """Writes a whole number with thousands separated."""
    return UNKNOWN if number is None else f"{number:,}"
