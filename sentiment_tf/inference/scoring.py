"""Files of any size through a loaded export: rows in, answers beside them out, in order and resumable."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from sentiment_tf.errors import UserError
from sentiment_tf.inference import output_file, readers, writers
from sentiment_tf.inference.classifier import SAME_MODEL, TEXTS_AT_ONCE, Classifier

_EXPLAINED_AT_ONCE = 16  # takes seconds
_CHARACTERS_AT_ONCE = 4_000_000  # of the texts asked together: a few long ones fill memory, too


class GoodRows:
    """Iterates over the rows that can be answered; ends at the first other one, or skips them.

    Attributes:
      source: where they come from.
      good: how many rows have been given out.
      bad: how many have been skipped.
      first_bad: what was wrong with the first that could not be answered, or None.
    """

    def __init__(self, source: readers.Source, refuse: Callable[[readers.Row], str | None], *, skip: bool):
        self.good, self.bad, self.first_bad = 0, 0, None
        self.source, self._refuse, self._skip = source, refuse, skip
        self._rows = self._iterate()

    def __iter__(self) -> Iterator[readers.Row]:
        return self._rows

    def _iterate(self):
        for row in self.source.rows:
            reason = row.reason if isinstance(row, readers.Broken) else self._refuse(row)
            if reason is None:
                self.good += 1
                yield row
                continue
            self.first_bad = self.first_bad or f"{self.source.name} row {row.number}: {reason}"
            if not self._skip:
                return
            self.bad += 1


def pass_over_answered(model: Classifier, rows: GoodRows, form: writers.Layout, path: str) -> int:
    """Takes from `rows` those that an output answers already.

    Args:
      model: the model for the other rows; it is asked the last answered row again.
      rows: in order.
      form: the records' format.
      path: the output file.

    Returns:
      How many bytes of the output are whole records.

    Raises:
      UserError: the output does not answer the first of these rows, or another model or precision answered them.
    """
    done = output_file.written(path, form)
    last = None
    for last in itertools.islice(rows, done.records):  # noqa: B007 - the last one is wanted
        pass
    if rows.good < done.records or (last and not form.belongs(done.last, last)):
        raise UserError(
            f"--output={path}: its {done.records} rows do not answer the first ones of {rows.source.name}; "
            "resume with the input and settings it was begun with, or name another file"
        )
    if last:
        _check_same_model(model, form.answer(done.last, last), last, path)
    return done.end


def _check_same_model(model: Classifier, answered: tuple[str, float], row: readers.Row, path: str) -> None:
    label, probability = answered
    (probabilities,) = model.probabilities([row.text])
    now = dict(zip(model.label_names, probabilities, strict=True))
    if label not in now or abs(now[label] - probability) > SAME_MODEL:
        raise UserError(
            f"--output={path}: another model or precision answered its last row: {label} with {probability:.4f}, "
            f"where this one has {now.get(label, 0):.4f}; resume with the model it was begun with, or name another file"
        )


def answer(
    model: Classifier,
    rows: GoodRows,
    form: writers.Layout,
    output: output_file.Output,
    progress: Callable[[int], object],
    *,
    explain: bool = False,
) -> None:
    """Streams rows through the model into the output.

    Args:
      model: the model that answers.
      rows: in order.
      form: the records' format.
      output: gets whole records, and the header where it is empty.
      progress: called with the number of rows answered since the last call.
      explain: whether each answer comes with the weights of the text's words.

    Raises:
      UserError: a row can't be answered; those before it are in the output.
    """
    for window, answers in (_explained if explain else _labelled)(model, rows):
        records = (form.record(row, *each) for row, each in zip(window, answers, strict=True))
        output.write((form.header if output.is_empty else b"") + b"".join(records))
        progress(len(window))
    if rows.first_bad and not rows.bad:
        raise UserError(f"{rows.first_bad}; fix the row (--resume goes on in a file) or pass --skip_bad_rows")
    if rows.bad and not rows.good:
        raise UserError(f"none of the {rows.bad:,} rows can be answered; the first: {rows.first_bad}; fix the input")
    if output.is_empty:
        output.write(form.header)


def answered(model: Classifier, rows: Iterable[readers.Row]) -> Iterator[tuple[list[readers.Row], np.ndarray]]:
    """Yields rows that were asked together, in order, and their probabilities, float32[rows, classes]."""
    windows, ahead = itertools.tee(_windows(rows, TEXTS_AT_ONCE))
    answers = model.stream([row.text for row in window] for window in ahead)
    yield from zip(windows, answers, strict=True)


def _labelled(model: Classifier, rows: Iterable[readers.Row]) -> Iterator[tuple[list[readers.Row], Iterable[tuple]]]:
    """Yields rows that were asked together, and the label and probabilities of each."""
    for window, probabilities in answered(model, rows):
        yield window, zip(model.labels(probabilities), probabilities, strict=True)


def _explained(model: Classifier, rows: Iterable[readers.Row]) -> Iterator[tuple[list[readers.Row], Iterable[tuple]]]:
    """Yields rows that were asked together, and the label, probabilities and words of each."""
    for window in _windows(rows, _EXPLAINED_AT_ONCE):
        found = model.explain([row.text for row in window])
        yield window, [(each.label, each.probabilities, each.words) for each in found]


def _windows(rows: Iterable[readers.Row], size: int) -> Iterator[list[readers.Row]]:
    """Cuts rows into lists that are asked together."""
    window, characters = [], 0
    for row in rows:
        window.append(row)
        characters += len(row.text)
        if len(window) == size or characters >= _CHARACTERS_AT_ONCE:
            yield window
            window, characters = [], 0
    if window:
        yield window
