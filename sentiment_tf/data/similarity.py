"""Finds near duplicates and texts that contain others, with vectorised word hashes; scales to 10⁷ words.

A word is a sequence of letters and digits in lower case; punctuation and spacing are ignored. A window is a sequence of
words. Its hash is a polynomial in the hashes of its words (modulo 2⁶⁴). All hashes depend on the words alone: whether
two texts are compared does not depend on the order of the texts, nor on the texts beside them.

Work with windows goes block by block, so that memory is that of the hashes: about 25 bytes per word.

datasketch finds the same near duplicates with the same bands and threshold, but takes several times as long, because
it processes shingles one by one in Python. CPU seconds for 25,000 IMDb reviews (6.1 million words) on 2 cores of an AMD
EPYC: 1.2 s for MinHash, bands and pairs here, after 1.8 s for the word hashes and prefix sums, which `contained_pairs`
also uses; 8.4 s with datasketch 2.0 and xxHash, 12.2 s with its default hash, SHA-1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
import xxhash

PHRASE_WORDS = 5  # shorter texts are too common for a match to mean anything
SHINGLE_WORDS = 3
NEAR = 0.6  # near duplicates have at least this Jaccard similarity of their shingles
MOST_CANDIDATES = 4  # of a text, among those with the same key of a band
PLACES = 20  # at most this many occurrences of a text's rarest window are checked

_BANDS, _BAND_ROWS = 20, 3  # a pair of similarity s is found with probability 1 − (1 − s³)²⁰: 99 % at `NEAR`
_BATCH = 20_000  # texts that are split into words at a time
_BLOCK = 1 << 20  # words, about, whose windows are looked at at a time
_PAIRS_AT_ONCE = 5_000
_BYTES_PER_WORD = 5
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Corpus(NamedTuple):
    """The hashed words of all texts, concatenated.

    offsets: int64[texts + 1], index of each text's first word.
    words: uint64[words], hashes.
    bands: uint32[bands, texts], MinHash keys; texts with a common key are candidates for near duplicates.
    phrases: int32[words], a number for the window of `PHRASE_WORDS` words that begins at each word; equal windows have
      equal numbers. -1 if the window occurs once only, or the text ends before it.
    """

    offsets: np.ndarray
    words: np.ndarray
    bands: np.ndarray
    phrases: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Number of words of each text, int64[texts]."""
        return np.diff(self.offsets)


def as_arrow(texts: list[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns texts as Arrow strings with 64-bit offsets.

    Other sequences raise AttributeError: decoding a ``datasets.Column`` row by row took 52.7 of the 55 CPU seconds of
    an audit of 270,000 rows.
    """
    return pa.chunked_array([texts], pa.large_string()) if isinstance(texts, list) else texts.cast(pa.large_string())


def plain_hashes(texts: pa.ChunkedArray) -> np.ndarray:
    """Returns uint64[texts], hashes that ignore case and white space."""
    hashes = [np.empty(0, np.uint64)]
    for start in range(0, len(texts), _BATCH):
        batch = pc.replace_substring_regex(pc.utf8_lower(texts.slice(start, _BATCH)), r"[\s\p{Z}]+", " ")
        plain = pc.utf8_trim_whitespace(batch).cast(pa.large_binary()).to_pylist()
        hashes.append(np.fromiter(map(xxhash.xxh3_64_intdigest, plain), np.uint64, len(plain)))
    return np.concatenate(hashes)


def count_words(texts: pa.ChunkedArray) -> int:
    """Estimates the number of words from the number of bytes."""
    return (pc.sum(pc.binary_length(texts)).as_py() or 0) // _BYTES_PER_WORD


def prepare(texts: pa.ChunkedArray) -> Corpus:
    """Hashes the words of the texts."""
    words, offsets = _words(texts)
    corpus = Corpus(offsets, words, bands=np.empty((0, 0), np.uint32), phrases=np.empty(0, np.int32))
    return corpus._replace(bands=_bands(corpus), phrases=_phrases(corpus))


def near_pairs(corpus: Corpus, queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Finds the near duplicates of some texts among others.

    Candidates have a band of MinHash values in common (Broder 1997; banding: Leskovec, Rajaraman and Ullman, Mining of
    Massive Datasets, 3.4). A pair is returned if its exact Jaccard similarity is `NEAR` or more. Texts of fewer than
    `PHRASE_WORDS` words are skipped.

    Args:
      queries, index: int64, indices of texts. A text is not its own duplicate.

    Returns:
      int64[pairs, 2]: a text of ``queries`` and one of ``index``.
    """
    lengths, found = corpus.lengths, [np.empty((0, 2), np.int64)]
    queries, index = (rows[lengths[rows] >= PHRASE_WORDS] for rows in (queries, index))
    for keys in corpus.bands:
        query, place = lookup(keys[index], keys[queries], most=MOST_CANDIDATES)
        pairs = np.stack([queries[query], index[place]], 1)
        found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    pairs = np.unique(np.concatenate(found), axis=0)
    blocks = [pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE)]
    return np.concatenate([pairs[:0], *(block[_jaccard(corpus, block) >= NEAR] for block in blocks)])


def contained_pairs(corpus: Corpus, queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Finds texts that are contained in longer texts.

    A text is compared at the occurrences of its rarest window of `PHRASE_WORDS` words, at most `PLACES` of them. Texts
    with fewer words are skipped.

    Args:
      queries, index: int64, indices of texts.

    Returns:
      int64[pairs, 2]: a text of ``queries`` and a longer one of ``index`` that contains all its words in order.
    """
    lengths = corpus.lengths
    wanted = np.zeros(corpus.phrases.max(initial=-1) + 1, bool)
    own_rows, own_starts, own_phrases = _phrase_windows(corpus, _made_of_shared_phrases(corpus, queries), ~wanted)
    wanted[own_phrases] = True
    rows, starts, phrases = _phrase_windows(corpus, index, wanted)
    totals = np.bincount(phrases, minlength=len(wanted))  # occurrences of each phrase in the index
    order = np.argsort(phrases, kind="stable")

    count = totals[own_phrases]
    rarest = np.lexsort((count, own_rows))[np.flatnonzero(np.diff(own_rows, prepend=-1))]
    count = np.minimum(count[rarest], PLACES + 1)  # one of them may be the text itself
    query = np.repeat(rarest, count)
    step = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    place = order[(np.cumsum(totals) - totals)[own_phrases[query]] + step]

    row, other = own_rows[query], rows[place]
    start = starts[place] - (own_starts[query] - corpus.offsets[row])  # where the whole text would begin
    fits = (start >= corpus.offsets[other]) & (start + lengths[row] <= corpus.offsets[other + 1])
    fits &= lengths[row] < lengths[other]
    row, other, start = row[fits], other[fits], start[fits]
    same = _equal(corpus.words, start, corpus.offsets[row], lengths[row])
    return np.stack([row[same], other[same]], 1)


def contained_phrases(corpus: Corpus) -> np.ndarray:
    """Returns int64[pairs, 2]: texts of fewer than `PHRASE_WORDS` words, each with the first text that contains it."""
    long = np.flatnonzero(corpus.lengths >= PHRASE_WORDS)
    pairs = [np.empty((0, 2), np.int64)]
    for words in range(1, PHRASE_WORDS):
        short = np.flatnonzero(corpus.lengths == words)
        keys, key = np.unique(_hash(corpus, corpus.offsets[short], words), return_inverse=True)
        holder = np.full(len(keys) + 1, -1)  # the last one for what is not found
        for rows, starts in _windows(corpus, long if len(short) else long[:0], words):
            at = _find(keys, _hash(corpus, starts, words))
            new = np.flatnonzero(holder[at] < 0)[::-1]  # the last value that is assigned stays: that of the first text
            holder[at[new]] = rows[new]
            holder[-1] = -1
        found = holder[key] >= 0
        pairs.append(np.stack([short[found], holder[key[found]]], 1))
    return np.concatenate(pairs)


def _words(texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the words' hashes, uint64[words], and the index of each text's first word, int64[texts + 1]."""
    hashes, lengths = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), _BATCH):
        batch = texts.slice(start, _BATCH).combine_chunks()
        spaced = pc.replace_substring_regex(pc.utf8_lower(batch), r"[^\p{L}\p{N}]+", " ")
        lists = pc.utf8_split_whitespace(spaced)
        words, rows = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy()
        real = pc.not_equal(words, "").to_numpy(zero_copy_only=False)  # splitting yields empty strings at both ends
        encoded = words.dictionary_encode()
        distinct = encoded.dictionary.cast(pa.large_binary()).to_pylist()
        of_distinct = np.fromiter(map(xxhash.xxh3_64_intdigest, distinct), np.uint64, len(distinct))
        hashes.append(of_distinct[encoded.indices.to_numpy()[real]])
        lengths.append(np.bincount(rows[real], minlength=len(batch)))
    return np.concatenate(hashes), np.cumsum(np.concatenate(lengths), dtype=np.int64)


def _mix(values: np.ndarray) -> np.ndarray:
    """Mixes the bits of uint64 values by a bijection (the finalizer of SplitMix64: Steele, Lea and Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _windows(corpus: Corpus, rows: np.ndarray, words: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the windows of ``words`` words in these texts, block by block: text and first word, int64[windows] each.

    A text's windows are in one block.
    """
    counts = np.maximum(corpus.lengths[rows] - words + 1, 0)
    ends = np.cumsum(counts)
    bounds = np.searchsorted(ends, np.arange(_BLOCK, ends[-1] if len(ends) else 0, _BLOCK))
    for some, count in zip(np.split(rows, bounds), np.split(counts, bounds), strict=True):
        row = np.repeat(some, count)
        yield row, corpus.offsets[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)


def _hash(corpus: Corpus, starts: np.ndarray, words: int) -> np.ndarray:
    """Returns the hashes of windows of ``words`` words, uint64."""
    hashes = np.zeros(len(starts), np.uint64)
    for step in range(words):
        hashes = hashes * _BASE + corpus.words[starts + step]
    return hashes


def _equal(words: np.ndarray, starts: np.ndarray, others: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns whether the windows at ``starts`` have the same words as those at ``others``, bool[windows]."""
    equal, undecided, step = np.ones(len(starts), bool), np.arange(len(starts)), 0
    while len(undecided := undecided[equal[undecided] & (lengths[undecided] > step)]):
        equal[undecided] = words[starts[undecided] + step] == words[others[undecided] + step]
        step += 1
    return equal


def _find(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the index of each value in ``keys``, which are sorted; -1 for a value that is not there."""
    if not len(keys):
        return np.full(len(values), -1)
    at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    return np.where(keys[at] == values, at, -1)


def _phrases(corpus: Corpus) -> np.ndarray:
    """Returns `Corpus.phrases`."""
    rows = np.arange(len(corpus.lengths))
    hashes = [_hash(corpus, starts, PHRASE_WORDS) for _, starts in _windows(corpus, rows, PHRASE_WORDS)]
    ordered = np.concatenate(hashes)
    del hashes
    ordered.sort()
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    phrases = np.full(len(corpus.words), -1, np.int32)
    for _, starts in _windows(corpus, rows, PHRASE_WORDS):
        phrases[starts] = _find(repeated, _hash(corpus, starts, PHRASE_WORDS))
    return phrases


def _phrase_windows(corpus: Corpus, rows: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the windows of these texts that are wanted phrases: text, first word and number, int64[windows] each.

    Args:
      wanted: bool[phrases].
    """
    found = [(np.empty(0, np.int64),) * 3]
    wanted = np.r_[wanted, False]  # for -1
    for row, start in _windows(corpus, rows, PHRASE_WORDS):
        phrases = corpus.phrases[start]
        kept = wanted[phrases]
        found.append((row[kept], start[kept], phrases[kept].astype(np.int64)))
    row, start, phrases = map(np.concatenate, zip(*found, strict=True))
    return row, start, phrases


def _made_of_shared_phrases(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """Returns the texts whose windows all occur more than once in the corpus; only these can be contained in others."""
    shared = np.zeros(len(corpus.phrases) + 1, np.int32)  # of the windows before each word
    np.cumsum(corpus.phrases >= 0, out=shared[1:])
    counts = corpus.lengths - PHRASE_WORDS + 1
    whole = (counts > 0) & (shared[corpus.offsets[1:]] - shared[corpus.offsets[:-1]] == counts)
    return rows[whole[rows]]


def _bands(corpus: Corpus) -> np.ndarray:
    """Returns each text's band keys, each a hash of `_BAND_ROWS` MinHash values; 0 for a text without shingles."""
    bands = np.zeros((_BANDS, len(corpus.lengths)), np.uint32)
    factors = _mix(np.arange(_BANDS * _BAND_ROWS, dtype=np.uint64)) | np.uint64(1)  # odd factors: each is a permutation
    for rows, starts in _windows(corpus, np.arange(len(corpus.lengths)), SHINGLE_WORDS):
        if not len(rows):
            continue
        shingles = _mix(_hash(corpus, starts, SHINGLE_WORDS))
        begins = np.flatnonzero(np.diff(rows, prepend=-1))
        for band, of_band in zip(bands, factors.reshape(_BANDS, _BAND_ROWS), strict=True):
            keys = np.zeros(len(begins), np.uint64)
            for factor in of_band:
                keys = _mix(keys ^ np.minimum.reduceat(shingles * factor, begins))
            band[rows[begins]] = keys.astype(np.uint32)
    return bands


def lookup(index: np.ndarray, queries: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds equal keys: (indices in ``queries``, indices in ``index``), at most ``most`` per query."""
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    first = np.searchsorted(ordered, queries)
    query, place = [], []
    for step in range(most):
        at = np.minimum(first + step, max(len(index) - 1, 0))
        hit = np.flatnonzero((first + step < len(index)) & (ordered[at] == queries)) if len(index) else []
        query.append(np.asarray(hit, np.int64))
        place.append(order[at[query[-1]]])
    return np.concatenate(query), np.concatenate(place)


def _jaccard(corpus: Corpus, pairs: np.ndarray) -> np.ndarray:
    """Returns the Jaccard similarity of each pair's sets of shingles, float64[pairs]."""
    rows, places = np.unique(pairs, return_inverse=True)
    left, right = places.reshape(pairs.shape).T
    owners, starts = map(np.concatenate, zip(*_windows(corpus, rows, SHINGLE_WORDS), strict=True))
    _, shingles = np.unique(_hash(corpus, starts, SHINGLE_WORDS), return_inverse=True)
    has = scipy.sparse.csr_matrix((np.ones(len(owners), np.int32), (np.searchsorted(rows, owners), shingles)))
    has.data[:] = 1  # a repeated shingle counts once
    sizes = np.diff(has.indptr)
    common = np.asarray(has[left].multiply(has[right]).sum(axis=1)).ravel()
    return common / (sizes[left] + sizes[right] - common)
