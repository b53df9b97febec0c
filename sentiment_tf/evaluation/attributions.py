"""Why a model answered so: integrated gradients of word pieces, merged to the words of the raw text.

What is explained is the log-odds of a label, ln(p / (1 - p)); with two classes that is the difference of the logits.
The path leads from a baseline, in which every word piece has the embedding of [PAD], to the text; [CLS], [SEP] and the
positions are the same in both. A piece's weight is

    (e - e_pad) · ∫ gradient of the log-odds by e, at e_pad + α (e - e_pad), over α from 0 to 1.

The weights of a text sum to the change in log-odds from the baseline to the text, so a word of weight w multiplies the
odds of the label by exp(w).

Source: Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365). The path is
divided into intervals, each integrated by the trapezoidal rule. At their ends the log-odds are known, and with them how
much of the change an interval's integral misses: the intervals that miss most are halved until the sum is right to 1 %.
What each still misses is then shared among its pieces in proportion to their weights, so that the weights sum to the
change exactly. Equal steps would have to be small everywhere for the corners that the head's ReLU makes somewhere.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sentiment_tf.data import batching
from sentiment_tf.modeling import encoder
from sentiment_tf.system import runtime

METHOD = "integrated gradients"
TOLERANCE = 0.01  # of the change in log-odds; of 1, which is a factor of e in the odds, where the change is smaller
_INTERVALS, _ROUNDS = 10, 12  # of the path at the start; of halving at most
_TOKENS_AT_ONCE = 1024  # per batch of points: its intermediate results stay in one core's cache
_NOT_A_RIVAL = -1e9  # in place of the label's own logit among those of the other classes
_INNER_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")  # "isn't" is one word for a reader and three for the tokenizer


class Word(NamedTuple):
    """A word of a text with its share in the answer.

    Attributes:
      start, end: its place in the raw text, in characters: ``text[start:end]``.
      text: the word as it stands there.
      weight: change in the label's log-odds, in nats; above 0 it speaks for the label, below 0 against it.
    """

    start: int
    end: int
    text: str
    weight: float


class Explanation(NamedTuple):
    """An answer with its reasons.

    Attributes:
      label: the answer.
      probabilities: float32[classes].
      words: those that the model read, in order.
      log_odds: the label's.
      baseline: log-odds of the label for the same number of [PAD] embeddings.
      missed: log-odds that the integral missed; below `TOLERANCE`.
    """

    label: str
    probabilities: np.ndarray
    words: tuple[Word, ...]
    log_odds: float
    baseline: float
    missed: float


class Attribution(NamedTuple):
    """Integrated gradients of one text.

    Attributes:
      weights: float64[tokens].
      log_odds, baseline: at the ends of the path.
      missed: what the integral missed of the change between them before it was shared among the tokens, in log-odds.
    """

    weights: np.ndarray
    log_odds: float
    baseline: float
    missed: float


class PathBatch(NamedTuple):
    """Points on the paths of some texts.

    Attributes:
      input_ids: int32[points, length].
      baseline_ids: int32[points, length], the ids at the start of the path.
      attention_mask: int32[points, length].
      alphas: float32[points], how far along the path.
      labels: int32[points], the class that is explained.
    """

    input_ids: np.ndarray
    baseline_ids: np.ndarray
    attention_mask: np.ndarray
    alphas: np.ndarray
    labels: np.ndarray


_IDS, _POINTS = [None, None], [None]
POINTS = PathBatch(
    tf.TensorSpec(_IDS, tf.int32),
    tf.TensorSpec(_IDS, tf.int32),
    tf.TensorSpec(_IDS, tf.int32),
    tf.TensorSpec(_POINTS, tf.float32),
    tf.TensorSpec(_POINTS, tf.int32),
)  # the input signature of a tf.function over batches of any shape


def path_gradients(
    weights: encoder.Weights, batch: PathBatch, *, heads: int, activation: str = "gelu"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes log-odds and gradients at points on the paths.

    Args:
      weights: the network, float32.
      batch: see `PathBatch`.
      heads: number of attention heads.
      activation: "gelu" or "relu".

    Returns:
      The label's log-odds float32[points], and for each token the product of the gradient with the change of its
      embedding, float32[points, length].
    """
    start = tf.gather(weights.embeddings.words, batch.baseline_ids)  # (B, T, D)
    change = tf.gather(weights.embeddings.words, batch.input_ids) - start
    vectors = start + batch.alphas[:, None, None] * change
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        hidden = encoder.embed_vectors(weights.embeddings, vectors)
        pooled = encoder.run_blocks(
            weights.blocks, hidden, batch.attention_mask, heads=heads, activation=activation, pooled=True
        )
        odds = _log_odds(encoder.classify(weights.head, pooled), batch.labels)
    return odds, tf.reduce_sum(tape.gradient(odds, vectors) * change, axis=-1)


def integrate(
    gradients: Callable[[PathBatch], tuple[np.ndarray, np.ndarray]],
    rows: Sequence[Sequence[int]],
    baselines: Sequence[Sequence[int]],
    labels: Sequence[int],
) -> list[Attribution]:
    """Integrates along the paths of texts, several points and texts in a batch.

    Args:
      gradients: as `path_gradients`, with the weights.
      rows: token ids of each text.
      baselines: the ids at the start of its path.
      labels: the class that is explained.

    Returns:
      An attribution for each text.
    """
    paths = [_Path() for _ in rows]
    for halving in range(_ROUNDS + 1):
        pending = [row for row, path in enumerate(paths) if halving == 0 or path.refine()]
        points = [(row, alpha) for row in pending for alpha in paths[row].missing]
        batches = batching.by_tokens([len(rows[row]) for row, _ in points], _TOKENS_AT_ONCE)
        of_batch = functools.partial(_compute, gradients, rows, baselines, labels, points)
        for found in runtime.side_by_side(of_batch, batches, workers=runtime.cores()):
            for row, alpha, odds, products in found:
                paths[row].known[alpha] = odds, products
    return [path.attribution() for path in paths]


def _compute(
    gradients, rows, baselines, labels, points, members: list[int]
) -> list[tuple[int, float, float, np.ndarray]]:
    """Computes one batch of points: (row, alpha, log-odds, float32[tokens] products) of each."""
    chosen = [points[member] for member in members]
    ids, mask = batching.pad_ids([rows[row] for row, _ in chosen])
    start, _ = batching.pad_ids([baselines[row] for row, _ in chosen])
    alphas = np.array([alpha for _, alpha in chosen], np.float32)
    classes = np.array([labels[row] for row, _ in chosen], np.int32)
    odds, products = gradients(PathBatch(ids, start, mask, alphas, classes))
    return [
        (row, alpha, float(odds[place]), products[place, : len(rows[row])]) for place, (row, alpha) in enumerate(chosen)
    ]


class _Path:
    """The path of one text: its intervals, and what is known at their ends.

    Attributes:
      known: by alpha, the log-odds and the float32[tokens] products of gradient and change.
      missing: the alphas that are needed next.
    """

    def __init__(self):
        self.known: dict[float, tuple[float, np.ndarray]] = {}
        self.missing = np.linspace(0, 1, _INTERVALS + 1).tolist()

    def refine(self) -> bool:
        """Halves the intervals that miss most if the whole integral misses too much; returns whether it does."""
        alphas, integrals, changes = self._intervals()
        missed = changes - integrals.sum(axis=1)
        wanted = abs(missed.sum()) > TOLERANCE * max(abs(changes.sum()), 1.0)
        widest = np.abs(missed) >= np.abs(missed).max() / 4
        self.missing = ((alphas[:-1] + alphas[1:]) / 2)[widest].tolist() if wanted else []
        return wanted

    def attribution(self) -> Attribution:
        """Returns the integral over the whole path; each interval's misses are shared among the tokens."""
        alphas, integrals, changes = self._intervals()
        missed = changes - integrals.sum(axis=1)
        sizes = np.abs(integrals)
        shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        weights = (integrals + missed[:, None] * shares).sum(axis=0)
        return Attribution(weights, self.known[alphas[-1]][0], self.known[alphas[0]][0], float(abs(missed.sum())))

    def _intervals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the ends float64[intervals + 1], integrals float64[intervals, tokens], changes float64[intervals]."""
        alphas = np.array(sorted(self.known))
        odds = np.array([self.known[alpha][0] for alpha in alphas])
        products = np.array([self.known[alpha][1] for alpha in alphas], np.float64)
        return alphas, np.diff(alphas)[:, None] * (products[:-1] + products[1:]) / 2, np.diff(odds)


def words(text: str, encoding, weights: np.ndarray) -> tuple[Word, ...]:
    """Merges word pieces to words.

    Args:
      text: the raw text.
      encoding: `tokenizers.Encoding` of it, with offsets.
      weights: float[tokens].

    Returns:
      The words that the model read, in order.
    """
    inner = {found.start() for found in _INNER_APOSTROPHE.finditer(text)}
    merged: list[list] = []  # start, end, weight
    last = None
    for word, (start, end), weight in zip(encoding.word_ids, encoding.offsets, weights, strict=True):
        if word is None:  # [CLS] and [SEP]
            continue
        joined = merged and merged[-1][1] == start and (start in inner or start - 1 in inner)
        if word == last or joined:
            merged[-1][1], merged[-1][2] = max(merged[-1][1], end), merged[-1][2] + weight
        else:
            merged.append([start, end, weight])
        last = word
    return tuple(Word(start, end, text[start:end], float(weight)) for start, end, weight in merged)


def deletion_curve(
    predict: Callable[[list[str]], np.ndarray],
    texts: Sequence[str],
    explanations: Sequence[Explanation],
    *,
    classes: Sequence[int],
    shares: Sequence[float],
    seed: int,
) -> dict[str, list[float]]:
    """Deletes words and asks again: do the words of large weight matter more than others?

    Args:
      predict: texts → probabilities float[texts, classes].
      texts: raw texts.
      explanations: one for each text.
      classes: the class of each explanation's label.
      shares: how much of a text's words is deleted, rounded up to whole words.
      seed: Random seed of the words that are deleted for comparison.

    Returns:
      "share", with 0 first, and the mean probability of the label: "top_words", when the words that speak most for it
      are deleted, and "random_words", when as many others are.
    """
    random = np.random.default_rng(seed)
    orders = {
        "top_words": [np.argsort([-word.weight for word in each.words], kind="stable") for each in explanations],
        "random_words": [random.permutation(len(each.words)) for each in explanations],
    }
    curve: dict[str, list[float]] = {"share": [0.0, *shares]}
    for name, order in orders.items():
        curve[name] = []
        for share in curve["share"]:
            kept = [
                _without(text, [each.words[number] for number in of_text[: math.ceil(share * len(of_text))]])
                for text, each, of_text in zip(texts, explanations, order, strict=True)
            ]
            curve[name].append(float(predict(kept)[np.arange(len(kept)), list(classes)].mean()))
    return curve


def _without(text: str, deleted: Sequence[Word]) -> str:
    for word in sorted(deleted, reverse=True):  # from the end, so that places before it stay
        text = text[: word.start] + text[word.end :]
    return text


def _log_odds(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns ln(p / (1 - p)) of the labels' probabilities, float32[batch]."""
    own = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    rivals = tf.reduce_logsumexp(tf.where(own, _NOT_A_RIVAL, logits), axis=1)
    return tf.gather(logits, labels, axis=1, batch_dims=1) - rivals
