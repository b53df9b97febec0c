"""The rows that a run is reported on."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class ReportedRows:
    """Texts with their labels, and what the model made of them before and after training.

    Attributes:
      texts: str[rows].
      labels: int[rows].
      logits_before: float32[rows, classes], of the model before training.
      logits_after: float32[rows, classes], as the exports answer: divided by the temperature of the calibration.
      lengths: int[rows], in tokens, after truncation.
      truncated: bool[rows], whether the text was longer than the model reads.
      names: str[rows], by which a person finds a row: its file, and its number there.
      predicted: int[rows], the classes after training that a decision threshold gives; None: the highest logits.
    """

    texts: Sequence[str]
    labels: np.ndarray
    logits_before: np.ndarray
    logits_after: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray
    names: Sequence[str]
    predicted: np.ndarray | None = None
