"""Compares a library's answers with what is expected, text by text."""

import dataclasses

import numpy as np

from tests.interop.runs import Expected

TOLERANCE = 1e-4
# Of an int8 model: it may choose another label only where the float32 model's own label is less likely than that. Its
# accuracy is the export's matter; here a file that is read wrongly is to be noticed.
SURE = 0.65
SHOWN = 10  # texts that differ


@dataclasses.dataclass
class Findings:
    """What has been compared so far; `problems` is empty if all of it is equal."""

    problems: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    def skip(self, check: str) -> None:
        """Reports what could not be compared."""
        self.skipped.append(check)
        print(f"SKIPPED {check}", flush=True)

    def differ(self, name: str, differences: list[str]) -> None:
        """Reports texts that differ."""
        for difference in differences[:SHOWN]:
            print(f"  {difference}", flush=True)
        if len(differences) > SHOWN:
            print(f"  … and {len(differences) - SHOWN} more", flush=True)
        if differences:
            self.fail(f"{name}: {len(differences)} differ")

    def fail(self, problem: str) -> None:
        """Reports one thing that is wrong."""
        self.problems.append(problem)
        print(f"FAILED  {problem}", flush=True)


def ids(findings: Findings, name: str, expected: Expected, found: list[list[int]], *, keeps_sep: bool = True) -> None:
    """Compares token ids.

    Args:
      findings: gets what differs.
      name: of the check.
      expected: of training.
      found: for each text.
      keeps_sep: whether a text that was cut ends in [SEP]; without, its last id is not compared.
    """
    differences = []
    for number, (text, wanted, got) in enumerate(zip(expected.texts, expected.ids, found, strict=True)):
        end = len(wanted) - (expected.cut[number] and not keeps_sep)
        if wanted[:end] != got[:end] or len(wanted) != len(got):
            differences.append(f"{_quoted(number, text)}: ids {got[:20]}, training has {wanted[:20]}")
    findings.differ(f"{name}: token ids", differences)
    if not differences:
        lost = 0 if keeps_sep else sum(expected.cut)
        but = f", but for the closing [SEP] of texts that were cut ({lost})" if lost else ""
        print(f"ok      {name}: the token ids of training for {len(found)} texts{but}", flush=True)


def probabilities(findings: Findings, name: str, expected: Expected, found: list[dict[str, float]]) -> None:
    """Compares float32 probabilities to `TOLERANCE`."""
    by_text = _differences(expected, found)
    findings.differ(
        f"{name}: probabilities",
        [
            f"{_quoted(number, expected.texts[number])}: probabilities differ by {by_text[number]:.2g} "
            f"({TOLERANCE:.0e} is allowed)"
            for number in np.flatnonzero(~(by_text <= TOLERANCE))  # a NaN is a difference, too
        ],
    )
    if (by_text <= TOLERANCE).all():
        print(f"ok      {name}: {len(found)} texts, largest difference {by_text.max():.1e}", flush=True)


def labels(findings: Findings, name: str, expected: Expected, found: list[dict[str, float]]) -> None:
    """Compares an int8 model's labels with those that the SavedModel is sure of (`SURE`)."""
    by_text, answers = _differences(expected, found), _array(expected, found)
    other = answers.argmax(axis=1) != expected.probabilities.argmax(axis=1)
    wrong = ~np.isfinite(by_text) | (other & (expected.probabilities.max(axis=1) >= SURE))
    findings.differ(
        f"{name}: labels",
        [
            f"{_quoted(number, expected.texts[number])}: {found[number]}, the SavedModel "
            f"{dict(zip(expected.label_names, expected.probabilities[number].tolist(), strict=True))}"
            for number in np.flatnonzero(wrong)
        ],
    )
    if not wrong.any():
        print(
            f"ok      {name}: the same label for {(~other).sum()} of {len(found)} texts and wherever the SavedModel's "
            f"has {SURE} or more; largest difference {by_text.max():.1e}",
            flush=True,
        )


def difference_of_cut(expected: Expected, found: list[dict[str, float]]) -> float:
    """Returns the largest difference among the texts that were cut."""
    return float(_differences(expected, found)[np.flatnonzero(expected.cut)].max(initial=0))


def subset(expected: Expected, numbers: list[int]) -> Expected:
    """Returns what is expected for some of the texts."""
    lists = {name: [getattr(expected, name)[number] for number in numbers] for name in ("texts", "ids", "cut")}
    return dataclasses.replace(expected, **lists, probabilities=expected.probabilities[numbers])


def _array(expected: Expected, found: list[dict[str, float]]) -> np.ndarray:
    return np.array([[answer.get(label, np.nan) for label in expected.label_names] for answer in found], np.float64)


def _differences(expected: Expected, found: list[dict[str, float]]) -> np.ndarray:
    """Returns float64[texts], the largest difference of a probability; NaN where a label is missing."""
    return np.abs(_array(expected, found) - expected.probabilities).max(axis=1)


def _quoted(number: int, text: str) -> str:
    return f"text {number}, {ascii(text[:60])}"
