"""Labels as people write them → class numbers, by distinct values, so that millions of rows cost little."""

import re
from collections.abc import Iterator, Sequence

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from sentiment_tf.data.readers import Raw, quiet
from sentiment_tf.data.tokenization import LINE_BREAK
from sentiment_tf.errors import UserError

MAX_CLASSES = 1000  # more than that is a wrong column

_BATCH = 100_000
_MISSING = ("", "-1")  # -1 is how GLUE's test sets say "unlabelled"
_MISSING_ADVICE = "-1 and blanks mean unlabelled; leave such rows out"
_NUMBER = re.compile(r"([+-]?\d+)(?:\.0*)?")
_LONG_FORMS = {"neg": "negative", "neu": "neutral", "pos": "positive"}


def is_unlabelled(raw: Raw) -> bool:
    """Whether a split has no label column, or nothing in it but -1 and blanks."""
    return "label" not in raw.rows.column_names or all(_plain(value) in _MISSING for value in _distinct(raw))


def names_of(raw: Raw) -> tuple[str, ...]:
    """Returns the class names that a split's labels amount to; a name's place is the class's number.

    Whole numbers are sorted as numbers, so that 0, 1, … stay what they are; names are sorted without regard
    to case, which puts negative before positive; a ``ClassLabel`` brings its own names and order.

    Raises:
      UserError: fewer than two classes, or too many for a label; numbers among names; a number below 0;
        a missing label.
    """
    values = {value: _plain(value) for value in _distinct(raw)}
    _refuse(raw, [value for value, label in values.items() if label in _MISSING], _MISSING_ADVICE)
    present = set(values.values())
    if len(present) < 2:
        raise UserError(f"{raw.name}: one class only ({', '.join(present)}); two or more are needed")
    if len(present) > MAX_CLASSES:
        raise UserError(f"{raw.name}: {len(present):,} different labels; name the right one by --label_column")
    if raw.class_names:
        return raw.class_names
    numbers = {label for label in present if _NUMBER.fullmatch(label)}
    if not numbers:
        by_folded = {label.casefold(): label for label in sorted(present)}
        return tuple(by_folded[folded] for folded in sorted(by_folded))
    rarer = numbers if 2 * len(numbers) < len(present) else present - numbers
    odd = [value for value, label in values.items() if label in rarer or label.startswith("-")]
    _refuse(raw, odd, "the others are names" if rarer is numbers else "expected whole numbers from 0")
    return tuple(sorted(numbers, key=int))


def class_number(value: str, label_names: Sequence[str], class_names: Sequence[str] | None = None) -> int | None:
    """Returns the number of the class that a label means, or None.

    A label is a class's name in any case of letters, or short for it (neg, pos), or its number, unless the
    names are numbers themselves.

    Args:
      value: the label as it stands in the data.
      label_names: the classes to choose from.
      class_names: the names that the data gives to its label numbers, if it does.
    """
    known = {name.casefold(): number for number, name in enumerate(label_names)}
    label = _plain(value)
    if class_names and label.isdecimal() and int(label) < len(class_names):
        name = class_names[int(label)].casefold()
        by_name = known.get(name, known.get(_LONG_FORMS.get(name, name)))
        # Where the classes have no names, their order is all there is to go by.
        return known.get(label) if by_name is None and _are_numbers(label_names) else by_name
    folded = label.casefold()
    for name in (folded, _LONG_FORMS.get(folded, folded)):
        if name in known:
            return known[name]
    if label.isdecimal() and int(label) < len(label_names) and not _are_numbers(label_names):
        return int(label)
    return None


def encode(raw: Raw, label_names: Sequence[str]) -> datasets.Dataset:
    """Returns the rows as columns text (string, line-break tags made spaces) and label (int64).

    Raises:
      UserError: a label that is missing or none of ``label_names`` (file, row and value are named), or a
        text that is not UTF-8.
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
    """Returns a label in its plain form: 1.0, +1 and 01 are 1."""
    number = _NUMBER.fullmatch(value)
    return str(int(number[1])) if number else value


def _spell(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns labels of any type as trimmed strings; a missing one is the empty string."""
    return pc.utf8_trim_whitespace(pc.fill_null(labels.cast(pa.string()), ""))


def _batches(raw: Raw) -> Iterator[pa.ChunkedArray]:
    rows = raw.rows.select_columns("label").with_format("arrow")
    return (_spell(batch["label"]) for batch in rows.iter(_BATCH))


def _distinct(raw: Raw) -> list[str]:
    """Returns the different labels in the order in which they first appear.

    Raises:
      UserError: a label that is not UTF-8.
    """
    seen: dict[str, None] = {}
    try:
        for labels in _batches(raw):
            seen |= dict.fromkeys(pc.unique(labels).to_pylist())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        _refuse_undecodable(raw, "label")
        raise
    return list(seen)


def _row(place: int) -> str:
    return f"row {place + 1:,} (from 1, without header and blank lines)"


def _refuse_undecodable(raw: Raw, column: str) -> None:
    """Raises for the first row whose text or label is not UTF-8, if any."""
    rows = raw.rows.select_columns(column).with_format("arrow")
    for number, batch in enumerate(rows.iter(_BATCH)):
        for place, data in enumerate(batch[column].cast(pa.large_binary()).to_pylist()):
            try:
                (data or b"").decode()
            except UnicodeDecodeError:
                row = _row(number * _BATCH + place)
                raise UserError(
                    f"{raw.name}: {row} has bytes that are not UTF-8 in its {column}; save the file as UTF-8"
                ) from None


def _refuse(raw: Raw, values: Sequence[str], advice: str) -> None:
    """Raises for the first row that has one of these labels, if any."""
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
