"""Names in the user's files and flags: usual names of the text and label columns, and characters no name may hold."""

import unicodedata
from collections.abc import Sequence

# The first of these that exists, in upper or lower case, is the column.
TEXT_COLUMNS = ("text", "sentence", "review", "content", "comment", "tweet", "message", "body")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "target", "polarity")


_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


def separator_problem(columns: Sequence[str]) -> str | None:
    """Returns what is wrong with a header in one piece, whose separators are not those of its format, or None."""
    if len(columns) != 1:
        return None
    found = next((name for mark, name in _SEPARATORS.items() if mark in columns[0]), None)
    return found and f"its header has {found} between the columns; save it with commas as .csv, or with tabs as .tsv"


def repeated_column(columns: Sequence[str]) -> str | None:
    """Returns the problem that two columns have the same name, or None."""
    name = next((name for number, name in enumerate(columns) if name in columns[:number]), None)
    return None if name is None else f"two columns are called {name!r} ({', '.join(columns)}); rename one"


def find_column(columns: Sequence[str], wanted: str | None, candidates: Sequence[str]) -> str | None:
    """Returns the wanted column, or without one the first candidate that exists; None if there is no such column.

    Args:
      columns: the file's column names.
      wanted: name that the user gave; must match exactly, or but for white space around the column's name.
      candidates: names in lower case; white space around a column's name and upper case are ignored.
    """
    if wanted is not None:
        return wanted if wanted in columns else next((column for column in columns if column.strip() == wanted), None)
    present = {column.strip().lower(): column for column in reversed(columns)}
    return next((present[name] for name in candidates if name in present), None)


def has_control_characters(name: str) -> bool:
    """Returns whether a name would break the line it is written in: line ends, tabs, escape codes, half characters.

    Names stand in flagfiles, tables and tab-separated answers, where such a character would begin another flag, row or
    cell. Surrogates are what Python makes of a file name that is not UTF-8, and cannot be written to a file.
    """
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
