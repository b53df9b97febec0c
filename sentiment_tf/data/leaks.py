"""Rows that occur in two splits: exact duplicates, near duplicates, and texts that contain one another.

Rows that a model has seen in training do not test it. `audit` counts them; `groups` finds the rows that must stay
together when a split is made.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import scipy.sparse
import scipy.sparse.csgraph

from sentiment_tf.data import similarity

KINDS = ("exact", "near", "contained")
MOST_WORDS = 20_000_000  # with more, only exact duplicates are searched for: others take 25 bytes of memory per word

_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 300

_NONE = np.empty((0, 2), np.int64)

Texts: TypeAlias = list[str] | pa.ChunkedArray


def kinds_looked_for(texts: pa.ChunkedArray) -> tuple[str, ...]:
    """Returns which of `KINDS` are searched for: all, or only exact ones if there are more than `MOST_WORDS` words."""
    return KINDS if similarity.count_words(texts) <= MOST_WORDS else KINDS[:1]


def audit(splits: Mapping[str, Texts], report_split: str) -> dict:
    """Finds rows of one split that also occur in another.

    A row counts as the first kind that applies: "exact" if only case and white space differ; "near" if the Jaccard
    similarity of the word triples is `similarity.NEAR` or more; "contained" if one text contains all words of the other
    in a row, and the shorter one has `similarity.PHRASE_WORDS` words or more.

    Args:
      splits: Texts by split.
      report_split: The split that results are reported on.

    Returns:
      JSON-serialisable dict: ``report_split``; ``rows``, number of rows by split; ``kinds``, those searched for;
      ``thresholds``; ``leaked``, by kind the number of rows of the report split that occur in any other split, and
      their ``total``; ``leaked_rows``, their indices in the split, from 0; ``examples``, by kind a few rows with their
      duplicates; ``between``, the same numbers for every pair of splits; ``repeated``, by split the number of rows that
      repeat an earlier row of the same split exactly.
    """
    table = _Table.of(splits)
    codes = similarity.plain_hashes(table.texts)
    kinds = kinds_looked_for(table.texts)
    corpus = similarity.prepare(table.texts) if kinds == KINDS else None
    others = [split for split in splits if split != report_split]
    couples = [(report_split, other) for other in others] + list(itertools.combinations(others[::-1], 2))
    pairs = {(a, b): _pairs(codes, corpus, table.rows(a), table.rows(b)) for a, b in couples}

    together = {kind: [pairs[report_split, other][kind] for other in others] for kind in kinds}
    duplicates = _once({kind: np.concatenate([_NONE, *found]) for kind, found in together.items()})
    leaked = np.sort(np.concatenate([found[:, 0] for found in duplicates.values()])) - table.begin(report_split)
    return {
        "report_split": report_split,
        "rows": {split: len(table.rows(split)) for split in splits},
        "kinds": list(kinds),
        "thresholds": {
            "near": similarity.NEAR,
            "shingle_words": similarity.SHINGLE_WORDS,
            "phrase_words": similarity.PHRASE_WORDS,
        },
        "leaked": _numbers(duplicates) | {"total": len(leaked)},
        "leaked_rows": leaked.tolist(),
        "examples": {kind: [table.example(*pair) for pair in found[:_EXAMPLES]] for kind, found in duplicates.items()},
        "between": [{"split": a, "other": b} | _numbers(_once(found)) for (a, b), found in pairs.items()],
        "repeated": {split: table.repeated(split, codes) for split in splits},
    }


def groups(texts: Texts) -> np.ndarray:
    """Groups rows that must stay in the same split.

    Groups are the connected components of exact duplicates, near duplicates and texts that contain one another. A
    common phrase must not connect everything: a text of fewer than `similarity.PHRASE_WORDS` words, or one that
    `similarity.PLACES` texts or more contain, is connected to only one of these texts; `audit` finds it between two
    splits if it is in both. The same goes for some texts whose phrases are all common: only the first occurrences of
    the rarest are compared.

    Near duplicates that `audit` finds are found here, too, except where more than `similarity.MOST_CANDIDATES` texts
    have the same MinHash key: each search takes the first of them in its own order. With more than `MOST_WORDS` words
    in total, only exact duplicates are grouped.

    Args:
      texts: Strings.

    Returns:
      int64[texts], group numbers from 0; the same texts always get the same numbers.
    """
    array = similarity.as_arrow(texts)
    hashes = similarity.plain_hashes(array)
    _, first, codes = np.unique(hashes, return_index=True, return_inverse=True)
    if kinds_looked_for(array) != KINDS:
        return codes.astype(np.int64)
    corpus = similarity.prepare(array.take(first))
    rows = np.arange(len(first))
    contained = similarity.contained_pairs(corpus, rows, rows)
    holders = np.bincount(contained[:, 0], minlength=len(rows))
    begins = np.r_[True, contained[1:, 0] != contained[:-1, 0]][: len(contained)]
    contained = contained[(holders[contained[:, 0]] < similarity.PLACES) | begins]
    links = [similarity.near_pairs(corpus, rows, rows), contained, similarity.contained_phrases(corpus)]
    left, right = np.concatenate(links).T
    graph = scipy.sparse.coo_matrix((np.ones(len(left), bool), (left, right)), shape=(len(rows), len(rows)))
    _, components = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return components[codes].astype(np.int64)


class _Table(NamedTuple):
    """The texts of all splits, concatenated."""

    texts: pa.ChunkedArray
    names: list[str]
    bounds: np.ndarray  # int64[splits + 1], index of each split's first row

    @classmethod
    def of(cls, splits: Mapping[str, Texts]) -> "_Table":
        arrays = [similarity.as_arrow(texts) for texts in splits.values()]
        return cls(
            pa.chunked_array([chunk for array in arrays for chunk in array.chunks], pa.large_string()),
            list(splits),
            np.cumsum([0, *map(len, arrays)]),
        )

    def begin(self, split: str) -> int:
        return self.bounds[self.names.index(split)]

    def rows(self, split: str) -> np.ndarray:
        return np.arange(self.begin(split), self.bounds[self.names.index(split) + 1])

    def repeated(self, split: str, codes: np.ndarray) -> int:
        """Returns the number of rows of a split that have the same code as an earlier row of the split."""
        own = codes[self.rows(split)]
        return len(own) - len(np.unique(own))

    def example(self, row: int, other: int) -> dict:
        """Returns an example for the audit: a row and its duplicate, given by their indices in all splits together."""
        at, other_at = np.searchsorted(self.bounds, [row, other], side="right") - 1
        return {
            "row": int(row - self.bounds[at]),
            "text": self.texts[row].as_py()[:_EXAMPLE_CHARACTERS],
            "other_split": self.names[other_at],
            "other_row": int(other - self.bounds[other_at]),
            "other_text": self.texts[other].as_py()[:_EXAMPLE_CHARACTERS],
        }


def _pairs(
    codes: np.ndarray, corpus: similarity.Corpus | None, rows: np.ndarray, others: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns int64[pairs, 2] by kind: a row of ``rows`` and its duplicate in ``others``."""
    query, place = similarity.lookup(codes[others], codes[rows], most=1)
    exact = np.stack([rows[query], others[place]], 1)
    if corpus is None:
        return {"exact": exact}
    inside = similarity.contained_pairs(corpus, rows, others)
    around = similarity.contained_pairs(corpus, others, rows)[:, ::-1]
    near = similarity.near_pairs(corpus, rows, others)
    return {"exact": exact, "near": near, "contained": np.concatenate([inside, around])}


def _once(pairs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keeps one pair per row, of the first kind that applies."""
    kept, seen = {}, np.empty(0, np.int64)
    for kind, found in pairs.items():
        found = found[~np.isin(found[:, 0], seen)]
        kept[kind] = found[np.unique(found[:, 0], return_index=True)[1]]
        seen = np.concatenate([seen, kept[kind][:, 0]])
    return kept


def _numbers(duplicates: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {kind: len(found) for kind, found in duplicates.items()}
