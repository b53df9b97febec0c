"""Usual names of the text and label columns in the user's files, for training and for prediction."""

from collections.abc import Sequence

# The first of these that exists, in upper or lower case, is the column.
TEXT_COLUMNS = ("text", "sentence", "review", "content", "comment", "tweet", "message", "body")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "target", "polarity")


def find_column(columns: Sequence[str], wanted: str | None, candidates: Sequence[str]) -> str | None:
    """Returns the wanted column, or without one the first candidate that exists; None if there is no such column.

    Args:
      columns: the file's column names.
      wanted: name that the user gave; must match exactly.
      candidates: names in lower case; white space around a column's name and upper case are ignored.
    """
    if wanted is not None:
        return wanted if wanted in columns else None
    present = {column.strip().lower(): column for column in reversed(columns)}
    return next((present[name] for name in candidates if name in present), None)
