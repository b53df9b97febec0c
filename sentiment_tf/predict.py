"""Ask a trained model: python -m sentiment_tf.predict --model=saved_models/sst2 "a gripping film" …

Prints label and probability of each text. Files: --input=reviews.csv --output=answers.csv, of any size; the
rows come out in their order, with their own columns and the answers beside them.
"""

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

from sentiment_tf import command
from sentiment_tf.errors import UserError
from sentiment_tf.serving import manifest, reading, saved_model, writing

_CHARACTERS_AT_ONCE = 4_000_000  # of the texts asked together; a few long ones fill memory, too


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("model", None, "A run's folder, one of its version folders, or a SavedModel of this program.")
    flags.DEFINE_string("input", None, "File of texts to answer; - for stdin.")
    flags.DEFINE_string("output", "-", "File to write; - for stdout.")
    flags.DEFINE_enum("input_format", None, reading.FORMATS, "Format of --input (default: by its extension, else text).")
    flags.DEFINE_enum("format", None, writing.FORMATS, "Format of the output (default: as the input).")
    flags.DEFINE_string("text_column", None, "Column of --input that holds the text (default: text, sentence, …).")
    flags.DEFINE_bool("resume", False, "Go on where --output stops.")
    flags.DEFINE_bool("skip_bad_rows", False, "Leave out rows that can't be read, and count them.")
    flags.DEFINE_bool("verify", False, "First check the model's files against its MANIFEST.")
    flags.FLAGS.set_gnu_getopt(True)  # flags may follow texts


def main(texts: list[str]) -> int:
    """Answers what the flags and arguments name."""
    options = flags.FLAGS
    _check(options, texts)
    folder = saved_model.find(options.model)
    if options.verify:
        _verify(Path(options.model), folder)
    if not (texts or options.input):
        return 0
    with _open_source(options, texts) as source:
        runtime.start()
        model = saved_model.load(options.model)
        form = writing.layout(_output_format(options), columns=source.columns, label_names=model.label_names)
        rows = _GoodRows(source, form.refuse, skip=options.skip_bad_rows)
        with contextlib.closing(_open_output(options, form, rows)) as output:
            _answer(model, rows, form, output, _progress_bar(options, source))
    _say_end(options, rows)
    return 0


class _GoodRows:
    """Iterates over the rows that can be answered; ends at the first other one, or skips them.

    Attributes:
      good: how many rows have been given out.
      bad: how many have been skipped.
      first_bad: what was wrong with the first that could not be answered, or None.
    """

    def __init__(self, source: reading.Source, refuse: Callable[[reading.Row], str | None], *, skip: bool):
        self.good, self.bad, self.first_bad = 0, 0, None
        self._source, self._refuse, self._skip = source, refuse, skip
        self._rows = self._iterate()

    def __iter__(self) -> Iterator[reading.Row]:
        return self._rows

    def _iterate(self):
        for row in self._source.rows:
            reason = row.reason if isinstance(row, reading.Broken) else self._refuse(row)
            if reason is None:
                self.good += 1
                yield row
                continue
            self.first_bad = self.first_bad or f"{self._source.name} row {row.number}: {reason}"
            if not self._skip:
                return
            self.bad += 1


def _answer(model: saved_model.SentimentModel, rows: _GoodRows, form, output: writing.Output, bar) -> None:
    """Streams rows through the model into the output.

    Raises:
      UserError: a row can't be answered; those before it are in the output.
    """
    windows, ahead = itertools.tee(_windows(rows))
    answers = model.stream([row.text for row in window] for window in ahead)
    with bar:
        for window, probabilities in zip(windows, answers, strict=True):
            records = map(form.record, window, model.labels(probabilities), probabilities)
            output.write((form.header if output.is_empty else b"") + b"".join(records))
            bar.advance(len(window))
    if rows.first_bad and not rows.bad:
        raise UserError(f"{rows.first_bad}; mend the row and pass --resume, or pass --skip_bad_rows")
    if output.is_empty:
        output.write(form.header)


def _windows(rows: _GoodRows) -> Iterator[list[reading.Row]]:
    """Cuts rows into lists that are asked together."""
    window, characters = [], 0
    for row in rows:
        window.append(row)
        characters += len(row.text)
        if len(window) == saved_model.TEXTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield window
            window, characters = [], 0
    if window:
        yield window
