"""Labels in any spelling → class numbers. Works on distinct values, so millions of rows cost little."""

import re
from collections.abc import Iterator, Sequence

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_tf.data.columns import has_control_characters
from sentiment_tf.data.readers import Raw, quiet
from sentiment_tf.data.tokenization import LINE_BREAK
from sentiment_tf.errors import UserError

MAX_CLASSES = 1000  # more than that is a wrong column

_BATCH = 100_000
_MISSING = ("", "-1")  # GLUE marks unlabelled rows with -1
_MISSING_ADVICE = "-1 and blanks mean unlabelled; leave such rows out"
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
      UserError: fewer than two classes, more than `MAX_CLASSES`, numbers mixed with names, a number below 0, a
        missing label, or a control character in a label.
    """
    values = {value: _plain(value) for value in _distinct(raw)}
    _refuse(raw, [value for value, label in values.items() if label in _MISSING], _MISSING_ADVICE)
    present = set(values.values())
    if len(present) < 2:
        raise UserError(f"{raw.name}: only one class ({', '.join(present)}); two or more are needed")
    if len(present) > MAX_CLASSES:
        raise UserError(f"{raw.name}: {len(present):,} different labels; name the right column with --label_column")
    if raw.class_names:
        _refuse_control_characters(raw)
        return raw.class_names
    _refuse(raw, list(filter(has_control_characters, values)), _CONTROL_ADVICE)
    numbers = {label for label in present if _NUMBER.fullmatch(label)}
    if not numbers:
        by_folded = {label.casefold(): label for label in sorted(present)}
        return tuple(by_folded[folded] for folded in sorted(by_folded))
    rarer = numbers if 2 * len(numbers) < len(present) else present - numbers
    odd = [value for value, label in values.items() if label in rarer or label.startswith("-")]
    _refuse(raw, odd, "the others are names" if rarer is numbers else "expected whole numbers from 0")
    return tuple(sorted(numbers, key=int))


def class_number(value: str, label_names: Sequence[str], class_names: Sequence[str] | None = None) -> int | None:
    """Returns the class number that a label stands for, or None if there is no such class.

    A label is a class name in upper or lower case, its short form (neg, neu, pos), or a class number. If the class
    names are numbers, a number is always a name.

    Args:
      value: the label as written in the data.
      label_names: the class names, in the order of the class numbers.
      class_names: names of the data's own label numbers, if it has any.
    """
    known = {name.casefold(): number for number, name in enumerate(label_names)}
    label = _plain(value)
    if class_names and label.isdecimal() and int(label) < len(class_names):
        name = class_names[int(label)].casefold()
        by_name = known.get(name, known.get(_LONG_FORMS.get(name, name)))
        # Classes that are called 0, 1, … can only be matched by their order.
        return known.get(label) if by_name is None and _are_numbers(label_names) else by_name
    folded = label.casefold()
    for name in (folded, _LONG_FORMS.get(folded, folded)):
        if name in known:
            return known[name]
    if label.isdecimal() and int(label) < len(label_names) and not _are_numbers(label_names):
        return int(label)
    return None


def encode(raw: Raw, label_names: Sequence[str]) -> datasets.Dataset:
    """Returns the rows with columns text (string) and label (int64); line-break tags in texts become spaces.

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

    def clean(batch: pa.Table) -> pa.Table:
        texts = pc.fill_null(batch["text"].cast(pa.string()), "")
        texts.validate(full=True)  # Parquet and JSON may hold any bytes for a string
        texts = pc.replace_substring_regex(texts, LINE_BREAK, " ")
        return pa.table({"text": texts, "label": pc.take(codes, pc.index_in(_spell(batch["label"]), keys))})

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int64")})
    try:
        with quiet():
            rows = raw.rows.with_format("arrow").map(clean, batched=True, batch_size=10_000, features=features)
    except pa.ArrowInvalid:
        _refuse_undecodable(raw, "text")
        raise
    return rows.with_format(None)


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


def _row(index: int) -> str:
    return f"row {index + 1:,} (counted from 1, without header and blank lines)"


def _refuse_undecodable(raw: Raw, column: str) -> None:
    """Raises a UserError for the first row whose ``column`` is not UTF-8, if there is one."""
    rows = raw.rows.select_columns(column).with_format("arrow")
    for number, batch in enumerate(rows.iter(_BATCH)):
        for index, data in enumerate(batch[column].cast(pa.large_binary()).to_pylist()):
            try:
                (data or b"").decode()
            except UnicodeDecodeError:
                row = _row(number * _BATCH + index)
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
            raise UserError(f"{raw.name}: {_row(start + found)} has {label}; {advice}")
        start += len(labels)
