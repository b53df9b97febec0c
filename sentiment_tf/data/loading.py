"""A data set's name or the user's files → train, validation and test rows: a text and its class number.

Named sets come from the hub or, with ``offline``, from the copy that is installed as a package. Nothing
falls back in silence: what can't be had is an error that names what can.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_tf.data import labels, leaks, sources, splitting
from sentiment_tf.errors import UserError

VALIDATION_FRACTION = 0.1
LONG_TEXT = 20_000  # characters; longer texts are kept and counted


@dataclass(frozen=True)
class Splits:
    """The rows of a data set, ready to be tokenized.

    name: "sst2", "imdb", "rotten_tomatoes", or "custom" for the user's own.
    rows: "train", "validation" and perhaps "test", each with the columns text (string) and label (int64).
    label_names: the class names; a label is a place in them.
    source: JSON-able: kind ("hub", "packaged" or "files"), id, revision (the commit), files, columns (of text and
      label, by the first file's own names, or None), and a fingerprint of each split's texts and labels.
    notes: one sentence for each thing that was carved, dropped or counted.
    """

    name: str
    rows: datasets.DatasetDict
    label_names: tuple[str, ...]
    source: dict
    notes: tuple[str, ...]

    @property
    def report_split(self) -> str:
        """The split that results are reported on."""
        return "test" if "test" in self.rows else "validation"


def load(
    *,
    dataset: str | None,
    data_dir: str | Path | None = None,
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    test_file: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    offline: bool = False,
    revision: str | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Splits:
    """Loads every split of a data set; a missing validation split is carved from train.

    A carved split takes `VALIDATION_FRACTION` of each class at random. Exact and near duplicates, and
    phrases with the sentence they come from, stay on one side (`leaks.groups`). A test split without labels
    is dropped, unless the user has named its file.

    Args:
      dataset: a name from `sources.HUB_IDS`, or None for the user's own files.
      data_dir: a folder in GLUE's or aclImdb's layout, or with train.csv and the like.
      train_file, validation_file, test_file: CSV, TSV, JSON lines or Parquet.
      text_column, label_column: see `readers.read_file`.
      offline: read the packaged copy of a named set.
      revision: the hub's commit, tag or branch.
      seed: of what is carved and of what ``limit`` draws.
      limit: number of training rows to draw, each class in its share, after carving; None for all.

    Raises:
      UserError: whatever is wrong with the settings, the files, their rows, or the way to the hub.
    """
    source = sources.find(
        dataset=dataset,
        data_dir=data_dir,
        files={"train": train_file, "validation": validation_file, "test": test_file},
        text_column=text_column,
        label_column=label_column,
        offline=offline,
        revision=revision,
    )
    label_names = source.label_names or labels.names_of(source.splits["train"])
    rows, notes = _encode(source, label_names)
    _check_classes(rows["train"], source.splits["train"].name, label_names)
    if "validation" not in rows:
        rows, note = _carve(rows, seed=seed)
        notes.append(note)
    if limit is not None and limit < len(rows["train"]):
        rows["train"] = _limit(rows["train"], limit, seed=seed)
        notes.append(f"Training uses {limit:,} rows, drawn at random with each class in its share.")
    return _splits(source, rows, label_names, notes)


def load_rows(
    *,
    label_names: Sequence[str],
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    test_file: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    offline: bool = False,
    revision: str | None = None,
    seed: int = 0,
) -> Splits:
    """Loads the rows to evaluate a model on: one labelled file, or the split that `load` reports on.

    Args:
      label_names: the model's classes; the data's labels are matched to them (`labels.class_number`).
      seed: the seed of the model's training, so that a carved split is the same one.
      dataset, data_dir, test_file, text_column, label_column, offline, revision: as in `load`.

    Returns:
      Splits whose ``rows`` hold the report split alone.

    Raises:
      UserError: as `load`; a label that is none of the model's.
    """
    source = sources.find(
        dataset=dataset,
        data_dir=data_dir,
        files={"test": test_file},
        text_column=text_column,
        label_column=label_column,
        offline=offline,
        revision=revision,
    )
    for split in ("test", "validation"):
        if split in source.splits:
            source = source._replace(splits={split: source.splits[split]})
    rows, notes = _encode(source, label_names)
    if rows.keys() == {"train"}:
        rows, note = _carve(rows, seed=seed)
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
    """Returns the rows of each split with class numbers, and notes on texts out of the ordinary."""
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
        raise UserError(f"{name}: one class only ({label_names[present[0]]}); training needs two or more")


def _carve(rows: dict[str, datasets.Dataset], *, seed: int) -> tuple[dict[str, datasets.Dataset], str]:
    """Splits train into train and validation."""
    whole = rows["train"]
    texts = text_array(whole)
    groups = leaks.groups(texts)
    train, validation = splitting.carve(label_array(whole), groups, fraction=VALIDATION_FRACTION, seed=seed)
    if len(validation) == 0:
        raise UserError(
            f"train: its {len(whole):,} rows are too few or too alike to carve a validation split from; "
            "pass --validation_file"
        )
    likes = "duplicates and phrases of one sentence"
    if leaks.kinds_looked_for(texts) != leaks.KINDS:
        likes = "exact duplicates, all that was looked for in so many rows,"
    note = (
        f"Validation is {len(validation):,} rows carved from train, {VALIDATION_FRACTION:.0%} of each class; "
        f"{likes} stay on one side ({len(np.unique(groups)):,} groups)."
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
    order = [split for split in ("train", "validation", "test") if split in rows]
    fingerprint = {split: _fingerprint(rows[split]) for split in order}
    columns = next(iter(source.splits.values())).columns
    return Splits(
        name=source.name,
        rows=datasets.DatasetDict({split: rows[split] for split in order}),
        label_names=tuple(label_names),
        source=source.described | {"columns": columns, "fingerprint": fingerprint},
        notes=tuple(notes),
    )


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
