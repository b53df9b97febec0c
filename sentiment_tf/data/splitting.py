"""Stratified choice of rows: a validation split from the training rows, folds, and a smaller training split."""

import numpy as np


def split_off(labels: np.ndarray, groups: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits rows into train and validation: draws whole groups at random, stratified by class.

    A group counts towards the class of most of its rows. A group with more rows than its class still needs stays in
    train, so validation never has more than ``fraction`` of a class.

    Args:
      labels: int64[rows], class numbers from 0.
      groups: int64[rows], group numbers from 0; the rows of a group stay together (`leaks.groups`).
      fraction: share of each class to draw; a class with two groups or more gives at least one.
      seed: Random seed; the same seed gives the same split.

    Returns:
      (train, validation): int64 row numbers, ascending.
    """
    random = np.random.default_rng(seed)
    groups, sizes, majority = _groups_and_classes(labels, groups)
    chosen = np.zeros(len(sizes), bool)
    for label in range(labels.max() + 1):
        members = random.permutation(np.flatnonzero(majority == label))
        wanted = max(round(sizes[members].sum() * fraction), 1)
        members = members[sizes[members] <= wanted]
        taken = members[np.cumsum(sizes[members]) <= wanted]
        chosen[taken if len(taken) < np.count_nonzero(majority == label) else taken[:-1]] = True
    validation = chosen[groups]
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def folds(labels: np.ndarray, groups: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Divides rows into folds for cross-validation: whole groups, drawn at random, stratified by class.

    Where there are fewer groups than folds, the groups are ignored.

    Args:
      labels: int64[rows], class numbers from 0.
      groups: int64[rows], as in `split_off`.
      count: number of folds.
      seed: Random seed; the same seed gives the same folds.

    Returns:
      int64[rows], the fold of each row, from 0; no fold is empty where there are as many rows as folds.
    """
    random = np.random.default_rng(seed)
    if len(np.unique(groups)) < count:
        groups = np.arange(len(labels))
    groups, sizes, majority = _groups_and_classes(labels, groups)
    order = random.permutation(len(sizes))
    order = order[np.argsort(majority[order], kind="stable")]  # class after class, each in random order
    fold = np.empty(len(sizes), np.int64)
    fold[order] = np.arange(len(sizes)) % count
    return fold[groups]


def stratified(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Draws ``count`` rows at random, stratified by class, with at least one row of each class.

    The number of rows per class is rounded by the largest remainder method.

    Args:
      labels: int64[rows], class numbers from 0.
      count: number of rows to draw; at least the number of classes present, at most the number of rows.
      seed: Random seed; the same seed draws the same rows.

    Returns:
      int64[count] row numbers, ascending.
    """
    random = np.random.default_rng(seed)
    sizes = np.bincount(labels)
    share = sizes / sizes.sum() * count
    quota = np.maximum(np.floor(share).astype(np.int64), np.minimum(sizes, 1))
    while (lack := count - quota.sum()) != 0:
        # add a row to the class furthest below its share, or remove one from the class furthest above it
        room = (quota < sizes) if lack > 0 else (quota > 1)
        distance = np.where(room, (share - quota) * np.sign(lack), -np.inf)
        quota[distance.argmax()] += np.sign(lack)
    rows = [random.permutation(np.flatnonzero(labels == label))[:size] for label, size in enumerate(quota)]
    return np.sort(np.concatenate(rows))


def _groups_and_classes(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns each row's group, numbered from 0 without gaps, and each group's number of rows and most common class."""
    classes = labels.max() + 1
    _, groups = np.unique(groups, return_inverse=True)
    counts = np.bincount(groups * classes + labels, minlength=(groups.max() + 1) * classes)
    counts = counts.reshape(-1, classes)  # rows of each group in each class
    return groups, counts.sum(axis=1), counts.argmax(axis=1)
