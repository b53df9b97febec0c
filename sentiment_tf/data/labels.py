"""Labels in any spelling → class numbers. Works on distinct values, so millions of rows cost little."""

import re
from collections.abc import Iterator, Sequence

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_tf.data.columns import has_control_characters
from sentiment_tf.data.readers import Raw, quiet, row_name
from sentiment_tf.data.tokenization import LINE_BREAK
from sentiment_tf.errors import UserError

MAX_CLASSES = 1000  # more than that is a wrong column
FEW_CLASSES = 10  # beyond that many, most classes must occur in several rows

_BATCH = 100_000
_MISSING = ("", "-1")  # GLUE marks unlabelled rows with -1
_MISSING_ADVICE = (
    "-1 and blanks mean unlabelled; leave such rows out, or number the classes from 0 (0 and 1 for -1 and 1)"
)
_LIKE_MISSING = ("nan", "null", "n/a", "#n/a", "<na>")  # how programs write a missing value; no known class's name
_CONTROL_ADVICE = "a label must not hold tabs, line ends or other control characters"
_NUMBER = re.compile(r"([+-]?\d+)(?:\.0*)?")
_LONG_FORMS = {"neg": "negative", "neu": "neutral", "pos": "positive"}


def is_unlabelled(raw: Raw) -> bool:
    """Whether a split has no label column, or only -1 and blanks in it."""
    return "label" not in raw.rows.column_names or all(_plain(value) in _MISSING for value in _distinct(raw))


def names_of(raw: Raw) -> tuple[str, ...]:
    """Returns the class names found in a split's labels, in the order of the class numbers.

    Whole numbers are sorted by value, so 0, 1, … keep their meaning. Names are sorted ignoring case, which puts
    negative before positive. A ``ClassLabel`` has names and order of its own.

    Raises:
      UserError: fewer than two classes, more than `MAX_CLASSES`, labels that hardly repeat, numbers mixed with names,
        a number below 0, a control character, or a label that is missing or looks so.
    """
    values = {value: _plain(value) for value in _distinct(raw)}
    _refuse(raw, [value for value, label in values.items() if label in _MISSING], _MISSING_ADVICE)
    _check_number_of_classes(raw, set(values.values()))
    if raw.class_names:
        _refuse_control_characters(raw)
        return raw.class_names
    unclear = [value for value in values if value.casefold() in _LIKE_MISSING]
    _refuse(raw, unclear, "a class, or a missing label? Leave such rows out, or give the class another name")
    _refuse(raw, list(filter(has_control_characters, values)), _CONTROL_ADVICE)
    present = set(values.values())
    numbers = {label for label in present if _NUMBER.fullmatch(label)}
    if not numbers:
        by_folded = {label.casefold(): label for label in sorted(present)}
        return tuple(by_folded[folded] for folded in sorted(by_folded))
    rarer = numbers if 2 * len(numbers) < len(present) else present - numbers
    odd = [value for value, label in values.items() if label in rarer or label.startswith("-")]
    _refuse(raw, odd, "the others are names" if rarer is numbers else "expected whole numbers from 0")
    return tuple(sorted(numbers, key=int))


def _check_number_of_classes(raw: Raw, present: set[str]) -> None:
    classes, rows = len(present), len(raw.rows)
    if classes < 2:
        raise UserError(f"{raw.name}: only one class ({', '.join(present)}); two or more are needed")
    if classes > MAX_CLASSES or (classes > FEW_CLASSES and 2 * classes > rows):
        raise UserError(
            f"{raw.name}: {classes:,} different labels in {rows:,} rows; name the column of the classes with "
            "--label_column, or turn scores into a few classes"
        )


def class_number(value: str, label_names: Sequence[str], class_names: Sequence[str] | None = None) -> int | None:
    """Returns the class number that a label stands for, or None if there is no such class.

    A label is a class name in upper or lower case, its short or long form (neg and negative, neu and neutral, pos and
    positive), or a class number. If the class names are numbers, a number is always a name.

    Args:
      value: the label as written in the data.
      label_names: the class names, in the order of the class numbers.
      class_names: names of the data's own label numbers, if it has any.
    """
    label = _plain(value)
    if class_names and label.isdecimal() and int(label) < len(class_names):
        by_name = _find_name(class_names[int(label)], label_names)
        # Classes that are called 0, 1, … can only be matched by their order.
        return _find_name(label, label_names) if by_name is None and _are_numbers(label_names) else by_name
    by_name = _find_name(label, label_names)
    if by_name is None and label.isdecimal() and int(label) < len(label_names) and not _are_numbers(label_names):
        return int(label)
    return by_name


def encode(raw: Raw, label_names: Sequence[str]) -> datasets.Dataset:
    """Returns the rows with the columns text (string), label (int64) and row (int64, its number in the file, from 1).

    Line-break tags in texts become spaces.

    Args:
      raw: a split as it was read.
      label_names: the class names, in the order of the class numbers.

    Raises:
      UserError: a label is missing or not in ``label_names``, or a text is not UTF-8; names file, row and value.
    """
    values = _distinct(raw)
    numbers = {value: class_number(value, label_names, raw.class_names) for value in values}
    _refuse(raw, [value for value in values if _plain(value) in _MISSING], _MISSING_ADVICE)
    unknown = [value for value, number in numbers.items() if number is None]
    advice = f"known are {', '.join(label_names)}"
    if raw.class_names:
        advice += f"; its own names for 0, 1, … are {', '.join(raw.class_names)}"
    _refuse(raw, unknown, advice)
    keys, codes = pa.array(numbers, pa.string()), pa.array(numbers.values(), pa.int64())

    def clean(batch: pa.Table, indices: Sequence[int]) -> pa.Table:
        texts = pc.fill_null(batch["text"].cast(pa.string()), "")
        texts.validate(full=True)  # Parquet and JSON may hold any bytes for a string
        texts = pc.replace_substring_regex(texts, LINE_BREAK, " ")
        numbers = np.asarray(indices, np.int64) + 1 if raw.numbers is None else raw.numbers[indices]
        coded = pc.take(codes, pc.index_in(_spell(batch["label"]), keys))
        return pa.table({"text": texts, "label": coded, "row": numbers})

    whole = datasets.Value("int64")
    features = datasets.Features({"text": datasets.Value("string"), "label": whole, "row": whole})
    options = {"batched": True, "with_indices": True, "batch_size": 10_000, "features": features}
    try:
        with quiet():
            rows = raw.rows.with_format("arrow").map(clean, **options)
    except pa.ArrowInvalid:
        _refuse_undecodable(raw, "text")
        raise
    return rows.with_format(None)


def _find_name(name: str, label_names: Sequence[str]) -> int | None:
    """Returns the class of a name: in any case, or else in its short or long form."""
    for form in (str.casefold, _long_form):
        known = {form(known): number for number, known in enumerate(label_names)}
        if form(name) in known:
            return known[form(name)]
    return None


def _long_form(name: str) -> str:
    """Returns neg, neu and pos written out, other names in lower case."""
    return _LONG_FORMS.get(name.casefold(), name.casefold())


def _are_numbers(label_names: Sequence[str]) -> bool:
    return all(_NUMBER.fullmatch(name) for name in label_names)


def _plain(value: str) -> str:
    """Returns a label in its canonical form: 1.0, +1 and 01 become 1."""
    number = _NUMBER.fullmatch(value)
    return str(int(number[1])) if number else value


def _spell(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns labels of any type as trimmed strings; a missing one is the empty string."""
    return pc.utf8_trim_whitespace(pc.fill_null(labels.cast(pa.string()), ""))


def _batches(raw: Raw) -> Iterator[pa.ChunkedArray]:
    rows = raw.rows.select_columns("label").with_format("arrow")
    return (_spell(batch["label"]) for batch in rows.iter(_BATCH))


def _distinct(raw: Raw) -> list[str]:
    """Returns the distinct labels in order of first appearance.

    Raises:
      UserError: a label is not UTF-8.
    """
    seen: dict[str, None] = {}
    try:
        for labels in _batches(raw):
            seen |= dict.fromkeys(pc.unique(labels).to_pylist())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        _refuse_undecodable(raw, "label")
        raise
    return list(seen)


def _refuse_undecodable(raw: Raw, column: str) -> None:
    """Raises a UserError for the first row whose ``column`` is not UTF-8, if there is one."""
    rows = raw.rows.select_columns(column).with_format("arrow")
    for number, batch in enumerate(rows.iter(_BATCH)):
        for index, data in enumerate(batch[column].cast(pa.large_binary()).to_pylist()):
            try:
                (data or b"").decode()
            except UnicodeDecodeError:
                row = row_name(number * _BATCH + index + 1)
                raise UserError(
                    f"{raw.name}: {row} has bytes that are not UTF-8 in its {column}; save the file as UTF-8"
                ) from None


def _refuse_control_characters(raw: Raw) -> None:
    """Raises a UserError if a class name of a data set that names its classes holds a control character."""
    for name in filter(has_control_characters, raw.class_names):
        raise UserError(f"{raw.name}: has the class {name!r}; {_CONTROL_ADVICE}")


def _refuse(raw: Raw, values: Sequence[str], advice: str) -> None:
    """Raises a UserError for the first row with one of these labels, if there is one."""
    if not values:
        return
    start = 0
    for labels in _batches(raw):
        found = pc.index(pc.is_in(labels, pa.array(values, pa.string())), True).as_py()
        if found >= 0:
            value = labels[found].as_py()
            label = f"the label {value!r}" if value else "no label"
            raise UserError(f"{raw.name}: {row_name(start + found + 1)} has {label}; {advice}")
        start += len(labels)
