"""A data set's name or the user's files → train, validation and test rows: a text and its class number.

Named data sets come from the hub or, with ``offline``, from a copy in a Python package. There is no silent fallback:
if the requested source is not available, the error names those that are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_tf.data import labels, leaks, readers, settings, sources, splitting
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.errors import UserError

VALIDATION_FRACTION = 0.1
LONG_TEXT = 20_000  # characters; longer texts are kept, and counted in a note


class Origin(NamedTuple):
    """Where the rows of a split come from.

    name: the file, without its folder, or the data set and split on the hub.
    files: name of each row's own file, if every row has one; else None.
    """

    name: str
    files: tuple[str, ...] | None

    def of_row(self, number: int) -> str:
        """Names a row by its number, counted from 1 without header and blank lines: "reviews.csv, row 5"."""
        return self.files[number - 1] if self.files else f"{self.name}, row {number:,}"


@dataclass(frozen=True)
class Splits:
    """The rows of a data set, ready to be tokenized.

    name: name of the data set, "custom" for the user's own.
    rows: "train", "validation" and perhaps "test", each with the columns text (string), label (int64) and row (int64,
      the row's number in its file, from 1).
    label_names: the class names, in the order of the class numbers.
    source: for run.json: kind ("hub", "packaged" or "files"), id, revision (the commit), files, columns (the first
      file's names of the text and label columns, or None), and a fingerprint of each split's texts and labels.
    notes: one sentence for each split that was made or dropped, for unusual texts and for classes without rows.
    origins: by split, where its rows come from.
    """

    name: str
    rows: datasets.DatasetDict
    label_names: tuple[str, ...]
    source: dict
    notes: tuple[str, ...]
    origins: dict[str, Origin]

    @property
    def report_split(self) -> str:
        """The split that results are reported on."""
        return "test" if "test" in self.rows else "validation"

    def row_names(self, split: str) -> list[str]:
        """Returns a name of each row by which a person finds it: its file, and its number there."""
        return [self.origins[split].of_row(number) for number in self.rows[split]["row"][:]]


def load(data: DataSettings, *, seed: int = 0, limit: int | None = None) -> Splits:
    """Loads every split of a data set; without a validation split, one is split off from train.

    Such a validation split is `VALIDATION_FRACTION` of each class, drawn at random. Exact and near duplicates, and
    phrases with the sentence that contains them, stay together (`leaks.groups`). The leak audit compares texts in the
    same way; what it may still find between the two splits, mostly phrases that many sentences contain, is described
    there. A test split without labels is dropped, unless the user named its file.

    Args:
      data: which data to read.
      seed: Random seed for the validation split and for ``limit``; the same seed gives the same rows.
      limit: number of training rows to draw, stratified by class, after validation is split off; None keeps all.

    Raises:
      UserError: contradictory settings, malformed files or rows, or a hub that is out of reach.
    """
    source = sources.find(data)
    label_names = source.label_names or labels.names_of(source.splits["train"])
    rows, notes = _encode(source, label_names)
    _check_classes(rows["train"], source.splits["train"].name, label_names)
    if "validation" not in rows:
        rows, note = _split_off_validation(rows, seed=seed)
        notes.append(note)
    if limit is not None and limit < len(rows["train"]):
        rows["train"] = _limit(rows["train"], limit, seed=seed)
        notes.append(f"Training uses {limit:,} rows, drawn at random and stratified by class.")
    return _splits(source, rows, label_names, notes)


def load_rows(data: DataSettings, *, label_names: Sequence[str], seed: int = 0) -> Splits:
    """Loads the rows to evaluate a model on: one labelled file, or the split that `load` reports on.

    Args:
      data: which data to read.
      label_names: the model's classes; the labels are matched to them (`labels.class_number`).
      seed: Random seed of the model's training; a validation split that has to be split off is then the same.

    Returns:
      Splits whose ``rows`` hold only the report split.

    Raises:
      UserError: as in `load`, or a label that is not one of the model's classes.
    """
    source = sources.find(data)
    for split in ("test", "validation"):
        if split in source.splits:
            source = source._replace(splits={split: source.splits[split]})
    rows, notes = _encode(source, label_names)
    if rows.keys() == {"train"}:
        rows, note = _split_off_validation(rows, seed=seed)
        notes.append(note)
        del rows["train"]
    return _splits(source, rows, tuple(label_names), notes)


def label_array(rows: datasets.Dataset) -> np.ndarray:
    """Returns the labels of encoded rows, int64[rows]."""
    return np.asarray(rows.with_format("numpy")["label"][:], np.int64)


def text_array(rows: datasets.Dataset) -> pa.ChunkedArray:
    """Returns the texts of encoded rows as Arrow strings; iterating over ``rows["text"]`` decodes them one by one."""
    return rows.select_columns("text").with_format("arrow")[:]["text"]


def _encode(source: sources.Source, label_names: Sequence[str]) -> tuple[dict[str, datasets.Dataset], list[str]]:
    """Returns the rows of each split with class numbers, and notes on empty and very long texts."""
    rows, notes = {}, list(source.notes)
    for split, raw in source.splits.items():
        rows[split] = labels.encode(raw, label_names)
        empty, long = _count_odd(rows[split])
        if empty:
            notes.append(f"{split}: {empty:,} of {len(rows[split]):,} texts are empty; they are kept.")
        if long:
            notes.append(f"{split}: {long:,} texts are longer than {LONG_TEXT:,} characters; they are kept.")
    return rows, notes


def _check_classes(rows: datasets.Dataset, name: str, label_names: Sequence[str]) -> None:
    present = np.unique(label_array(rows))
    if len(present) < 2:
        raise UserError(f"{name}: only one class ({label_names[present[0]]}); training needs two or more")


def _split_off_validation(rows: dict[str, datasets.Dataset], *, seed: int) -> tuple[dict[str, datasets.Dataset], str]:
    """Splits train into train and validation; returns the rows of each split, and a note."""
    whole = rows["train"]
    texts = text_array(whole)
    groups = leaks.groups(texts)
    train, validation = splitting.split_off(label_array(whole), groups, fraction=VALIDATION_FRACTION, seed=seed)
    if len(validation) == 0:
        raise UserError(
            f"train: its {len(whole):,} rows are too few or too similar to split off validation rows; "
            "pass --validation_file"
        )
    together = "exact duplicates, and nearly all near duplicates and phrases of one sentence,"
    if leaks.kinds_looked_for(texts) != leaks.KINDS:
        together = "exact duplicates (near duplicates are not searched for among so many words)"
    note = (
        f"Validation is {len(validation):,} rows split off from train, {VALIDATION_FRACTION:.0%} of each class; "
        f"{together} stay in one split ({len(np.unique(groups)):,} groups)."
    )
    return rows | {"train": whole.select(train), "validation": whole.select(validation)}, note


def _limit(rows: datasets.Dataset, limit: int, *, seed: int) -> datasets.Dataset:
    numbers = label_array(rows)
    if limit < (classes := len(np.unique(numbers))):
        raise UserError(f"--limit={limit}: the training rows have {classes} classes; pass {classes} or more")
    return rows.select(splitting.stratified(numbers, limit, seed=seed))


def _splits(
    source: sources.Source, rows: dict[str, datasets.Dataset], label_names: Sequence[str], notes: list[str]
) -> Splits:
    order = [split for split in settings.SPLITS if split in rows]
    missing = [note for split in order if (note := _missing_classes(split, label_array(rows[split]), label_names))]
    fingerprint = {split: _fingerprint(rows[split]) for split in order}
    columns = next(iter(source.splits.values())).columns
    return Splits(
        name=source.name,
        rows=datasets.DatasetDict({split: rows[split] for split in order}),
        label_names=tuple(label_names),
        source=source.described | {"columns": columns, "fingerprint": fingerprint},
        notes=(*notes, *missing),
        origins={split: _origin(source, source.splits.get(split, source.splits.get("train"))) for split in order},
    )


def _origin(source: sources.Source, raw: readers.Raw) -> Origin:
    name = raw.name if source.described["kind"] == "hub" else Path(raw.name).name
    return Origin(name, raw.files)


def _missing_classes(split: str, numbers: np.ndarray, label_names: Sequence[str]) -> str | None:
    """Returns a note if some class has no row in a split."""
    counts = np.bincount(numbers, minlength=len(label_names))
    absent = [name for name, count in zip(label_names, counts, strict=True) if not count]
    if not absent:
        return None
    if len(absent) == len(label_names) - 1:
        only = label_names[int(counts.argmax())]
        return f"{split}: every row has the label {only}; ROC-AUC and the like are undefined."
    others = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    return f"{split}: no row has the label {', '.join(absent[:5])}{others}."


def _count_odd(rows: datasets.Dataset) -> tuple[int, int]:
    """Returns how many texts are empty or blank, and how many are longer than `LONG_TEXT`."""
    empty = long = 0
    for batch in rows.with_format("arrow").iter(100_000):
        empty += pc.sum(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(batch["text"])), 0)).as_py()
        long += pc.sum(pc.greater(pc.utf8_length(batch["text"]), LONG_TEXT)).as_py()
    return empty, long


def _fingerprint(rows: datasets.Dataset) -> str:
    """Returns a SHA-256 over the texts (UTF-8), their lengths in bytes and the labels (int64)."""
    texts, lengths, numbers = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for batch in rows.with_format("arrow").iter(100_000):
        for chunk in batch["text"].chunks:
            sizes = pc.binary_length(chunk).to_numpy()
            first, last = np.frombuffer(chunk.buffers()[1], np.int32)[[chunk.offset, chunk.offset + len(chunk)]]
            texts.update(chunk.buffers()[2][first:last] if last else b"")
            lengths.update(sizes.astype("<i8").tobytes())
        numbers.update(batch["label"].to_numpy().astype("<i8").tobytes())
    return hashlib.sha256(texts.digest() + lengths.digest() + numbers.digest()).hexdigest()
