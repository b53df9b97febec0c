"""95 % intervals: Wilson's for shares of rows, the percentile bootstrap for other statistics.

The bootstrap draws rows again, with replacement. Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
chapter 13. It has no spread where every resample gives the same value, as for a model that is right on every row:
such an interval would claim certainty, so there is none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.stats import binomtest, norm

# Counts are drawn for a few resamples at a time: 256 KiB of float64, so that what is computed from them stays in the
# processor's cache (with 5 classes of 25,000 rows, twice as fast as 2 MiB).
BLOCK = 1 << 15
ROUNDING = 1e-12  # resamples that differ by less are the same


def intervals(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    rows: int,
    *,
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, list[float]]:
    """Computes percentile intervals of several statistics on the same resamples.

    Args:
      statistics: function from counts, float64[some resamples, rows], to {name: float64[some resamples]}; NaN
        where a resample leaves a statistic undefined.
      rows: number of rows.
      resamples: number of resamples; 0 gives no intervals.
      seed: Random seed; the same seed draws the same resamples.
      level: share of the resamples inside the interval.

    Returns:
      {name: [low, high]} without the statistics that no resample defines, and without those that are the same in
      every resample.
    """
    drawn = defaultdict(list)
    for counts in resampled_counts(rows, resamples, seed):
        for name, values in statistics(counts).items():
            drawn[name].append(values)
    found = {}
    for name, blocks in drawn.items():
        values = np.concatenate(blocks)
        values = values[np.isfinite(values)]
        if len(values) and np.ptp(values) > ROUNDING:
            found[name] = _percentiles(values, level)
    return found


def difference(fixed: int, broken: int, rows: int, *, resamples: int, seed: int, level: float = 0.95) -> list[float]:
    """Computes the interval of a paired difference in accuracy, (fixed - broken) / rows.

    A resampled row was fixed, was broken or stayed as it was, so the numbers of each are multinomial. Drawing
    these numbers is the paired bootstrap. If all rows are of one kind, every draw is the same: then the interval is
    Wald's with one row added to the fixed and one to the broken ones. Source: Bonett and Price 2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data".
    """
    if rows in (fixed, broken, rows - fixed - broken):
        return _adjusted_wald(fixed, broken, rows, level)
    shares = np.array([fixed, broken, rows - fixed - broken]) / rows
    drawn = np.random.default_rng(seed).multinomial(rows, shares, size=resamples)
    return _percentiles((drawn[:, 0] - drawn[:, 1]) / rows, level)


def share(hits: int, rows: int, *, level: float = 0.95) -> list[float]:
    """Computes Wilson's score interval of a share of rows, [low, high]; never empty, even for none or all of them.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    interval = binomtest(hits, rows).proportion_ci(confidence_level=level, method="wilson")
    return [float(interval.low), float(interval.high)]


def resampled_counts(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields float64[some resamples, rows], how often each row was drawn; ``resamples`` in all."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // rows)
    for start in range(0, resamples, step):
        block = min(step, resamples - start)
        drawn = generator.integers(rows, size=(block, rows))
        drawn += np.arange(block)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def _adjusted_wald(fixed: int, broken: int, rows: int, level: float) -> list[float]:
    gained, lost = (fixed + 1) / (rows + 2), (broken + 1) / (rows + 2)
    half = norm.ppf((1 + level) / 2) * np.sqrt((gained + lost - (gained - lost) ** 2) / (rows + 2))
    return [float(max(-1, gained - lost - half)), float(min(1, gained - lost + half))]


def _percentiles(values: np.ndarray, level: float) -> list[float]:
    return [float(edge) for edge in np.percentile(values, [50 * (1 - level), 50 * (1 + level)])]
