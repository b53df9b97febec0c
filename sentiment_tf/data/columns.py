"""Names by which the columns of texts and labels are found in people's files, for training and for answering."""

from collections.abc import Sequence

# The first of these that is there, in any case of letters, is the column.
TEXT_COLUMNS = ("text", "sentence", "review", "content", "comment", "tweet", "message", "body")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "target", "polarity")


def find_column(columns: Sequence[str], wanted: str | None, candidates: Sequence[str]) -> str | None:
    """Returns the column of the name that is wanted, else the first candidate that is there; None without either.

    Args:
      columns: of a file.
      wanted: as the user wrote it; must match exactly.
      candidates: in lower case; white space and the case of letters do not count.
    """
    if wanted is not None:
        return wanted if wanted in columns else None
    present = {column.strip().lower(): column for column in reversed(columns)}
    return next((present[name] for name in candidates if name in present), None)
