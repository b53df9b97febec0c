"""The best linear head over frozen [CLS] vectors: a convex problem, solved instead of trained step by step.

Multinomial logistic regression on standardised vectors. Its L2 penalty is chosen by cross-validation among the training
rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import log_softmax, softmax

from sentiment_tf.data import splitting
from sentiment_tf.errors import UserError

PENALTIES = np.geomspace(1.0, 1e-5, 11)  # strength of the L2 penalty beside the mean loss of a row; from strong to weak
FOLDS = 5
ANSWERING_FOLDS = 10  # of `out_of_fold`: more rows to learn from, and all folds are solved in one pass anyway
# Cross-validation takes this many rows at most: the more rows there are, the less the penalty matters.
CROSS_VALIDATED_ROWS = 16_384
# The largest entry of the gradient at which a solution is good enough: to compare penalties, and in the end.
COARSE, FINE = 1e-3, 1e-5
MOST_ITERATIONS = 500
ROWS_AT_ONCE = 100_000  # bounds the memory of a pass: each head has its own probabilities of every row


class LinearHead(NamedTuple):
    """Logits are ``features @ kernel + bias``.

    Attributes:
      kernel: float64[D, classes].
      bias: float64[classes].
    """

    kernel: np.ndarray
    bias: np.ndarray


class Rows(NamedTuple):
    """What a head is fitted to.

    Attributes:
      features: float32[rows, D].
      targets: float32[rows, classes], the probability of each class; a row adds up to 1.
      weights: float32[rows], each row's weight in the loss.
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def take(self, rows: np.ndarray) -> "Rows":
        """Returns some of the rows."""
        return Rows(*(array[rows] for array in self))


def check_rows(count: int) -> None:
    """Raises UserError if there are fewer training rows than cross-validation has folds."""
    if count < FOLDS:
        raise UserError(
            f"--head=solve, --audit_labels: {count} training rows are fewer than the {FOLDS} folds of their "
            "cross-validation; pass more rows, or --head=sgd and --audit_labels=off"
        )


def solve(
    rows: Rows,
    *,
    groups: Callable[[np.ndarray], np.ndarray],
    seed: int,
    on_iteration: Callable[[LinearHead, float], None] = lambda head, gradient_norm: None,
) -> tuple[LinearHead, dict]:
    """Finds the head with the lowest cross-entropy plus penalty.

    Args:
      rows: The training rows.
      groups: Takes row numbers and returns the number of each row's group, int64[rows]; the rows of a group are never
        on both sides of a fold.
      seed: Random seed of the folds.
      on_iteration: Called after each iteration over all rows, with the head so far and the norm of the gradient.

    Returns:
      (the head; ``penalty``, the chosen one, and ``cross_validation``: the loss in nats for each penalty tried).

    Raises:
      UserError: Fewer rows than folds, or features that are not finite.
    """
    standardised, mean, deviation = _standardise(rows)

    def raw(solution: np.ndarray) -> LinearHead:
        """Returns the head for features that are not standardised."""
        kernel = solution[0, :-1] / deviation[:, None]
        return LinearHead(kernel, solution[0, -1] - mean @ kernel)

    penalty, losses = choose_penalty(standardised, groups=groups, seed=seed)
    solution = _minimise(
        standardised,
        rows.weights[:, None],
        penalty,
        tolerance=FINE,
        on_iteration=lambda at, norm: on_iteration(raw(at), norm),
    )
    return raw(solution), {"penalty": penalty, "cross_validation": losses}


def out_of_fold(rows: Rows, *, groups: Callable[[np.ndarray], np.ndarray], seed: int) -> np.ndarray:
    """Returns float64[rows, classes]: the probabilities of each row by a head that was fitted to the other folds."""
    rows, _, _ = _standardise(rows)
    labels, numbers = rows.targets.argmax(axis=1), np.arange(len(rows.features))
    penalty, _ = choose_penalty(rows, groups=groups, seed=seed)
    fold = splitting.folds(labels, groups(numbers), count=ANSWERING_FOLDS, seed=seed)
    heads = _minimise(rows, _without_own_fold(rows, fold), penalty, tolerance=COARSE)
    return softmax(_logits(rows.features, heads)[numbers, fold].astype(np.float64), axis=-1)


def choose_penalty(
    rows: Rows, *, groups: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[float, dict[str, float]]:
    """Returns the penalty with the lowest cross-validated loss, for all rows, and the loss of each that was tried.

    Each penalty starts from the solution of the one before it; once the loss rises, no weaker one is tried.
    """
    labels = rows.targets.argmax(axis=1)
    sampled = splitting.stratified(labels, min(len(labels), CROSS_VALIDATED_ROWS), seed=seed)
    fold = splitting.folds(labels[sampled], groups(sampled), count=FOLDS, seed=seed)
    rows, row = rows.take(sampled), np.arange(len(sampled))
    weights = _without_own_fold(rows, fold)
    solution, losses = None, {}
    for penalty in PENALTIES:
        solution = _minimise(rows, weights, penalty, tolerance=COARSE, start=solution)
        held_out = log_softmax(_logits(rows.features, solution)[row, fold], axis=-1)
        losses[penalty] = float(np.average(-(rows.targets * held_out).sum(axis=1), weights=rows.weights))
        if losses[penalty] > min(losses.values()):
            break
    best = min(losses, key=lambda penalty: losses[penalty])
    # The penalty is beside the mean loss of a row, so the same prior is a weaker penalty among more rows.
    best *= len(sampled) * (1 - 1 / FOLDS) / len(labels)
    return float(best), {f"{penalty:.0e}": loss for penalty, loss in losses.items()}


def _standardise(rows: Rows) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Returns the rows with standardised features, and the features' means and standard deviations, float64[D].

    Raises:
      UserError: As `solve`.
    """
    features = rows.features
    check_rows(len(features))
    blocks = _blocks(len(features))
    if not all(np.isfinite(features[block]).all() for block in blocks):
        raise UserError("--head=solve: the model's [CLS] vectors are not finite numbers; pass another --model")
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(sum(np.square(features[block] - mean).sum(axis=0) for block in blocks) / len(features))
    deviation[deviation == 0] = 1.0  # of a constant, which is 0 once its mean is subtracted
    standardised = np.empty(features.shape, np.float32)
    for block in blocks:
        standardised[block] = (features[block] - mean) / deviation
    return rows._replace(features=standardised), mean, deviation


def _blocks(rows: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]


def _without_own_fold(rows: Rows, fold: np.ndarray) -> np.ndarray:
    """Returns float32[rows, folds], the weights with which each row enters the head that answers each fold."""
    return rows.weights[:, None] * (fold[:, None] != np.arange(fold.max() + 1))


def _minimise(
    rows: Rows,
    weights: np.ndarray,
    penalty: float,
    *,
    tolerance: float,
    start: np.ndarray | None = None,
    on_iteration: Callable[[np.ndarray, float], None] | None = None,
) -> np.ndarray:
    """Fits a head for each column of weights, all in one L-BFGS: they share the passes over the features.

    Args:
      rows: The rows; their own weights are not used.
      weights: float32[rows, heads], each row's weight in the loss of each head.
      penalty: Strength of the L2 penalty on the kernels.
      tolerance: Largest entry of the gradient at the end.
      start: float64[heads, D + 1, classes] to begin with; 0 without it.
      on_iteration: Called after each iteration, with the heads so far and the norm of the gradient.

    Returns:
      float64[heads, D + 1, classes]: kernel, and bias in the last row.
    """
    heads, classes = weights.shape[1], rows.targets.shape[1]
    shape = (heads, rows.features.shape[1] + 1, classes)
    shares = (weights / weights.sum(axis=0)).astype(np.float32)[:, :, None]
    targets = rows.targets[:, None]
    gradient = np.zeros(shape)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the objective summed over the heads, and its gradient."""
        at = flat.reshape(shape)
        loss = penalty / 2 * np.square(at[:, :-1]).sum()
        gradient[:, :-1], gradient[:, -1] = penalty * at[:, :-1], 0
        for block in _blocks(len(weights)):
            features, share, target = rows.features[block], shares[block], targets[block]
            answers = log_softmax(_logits(features, at), axis=-1)
            errors = share * (np.exp(answers) - target)
            gradient[:, -1] += errors.sum(axis=0)
            kernels = features.T @ errors.reshape(len(errors), -1)
            gradient[:, :-1] += kernels.reshape(-1, heads, classes).transpose(1, 0, 2)
            loss -= (share * target * answers).sum(dtype=np.float64)
        return loss, gradient.ravel().copy()

    def callback(flat: np.ndarray) -> None:
        on_iteration(flat.reshape(shape), float(np.linalg.norm(gradient)))

    found = scipy.optimize.minimize(
        loss_and_gradient,
        np.zeros(shape).ravel() if start is None else start.ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=callback if on_iteration else None,
        options={"maxiter": MOST_ITERATIONS, "gtol": tolerance, "ftol": 0.0},
    )
    return found.x.reshape(shape)


def _logits(features: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Returns float32[rows, heads, classes] for heads float64[heads, D + 1, classes]."""
    kernels = heads[:, :-1].transpose(1, 0, 2).reshape(features.shape[1], -1).astype(np.float32)
    return (features @ kernels).reshape(len(features), len(heads), -1) + heads[:, -1].astype(np.float32)
