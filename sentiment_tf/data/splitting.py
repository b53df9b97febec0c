"""Which rows go where: a validation split carved from train, and a smaller train split."""

import numpy as np


def carve(labels: np.ndarray, groups: np.ndarray, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Chooses validation rows from train: whole groups at random, each class in its share.

    A group counts towards the class that most of its rows have. A group larger than what its class still
    lacks stays in train, so that the share is kept from above.

    Args:
      labels: int64[rows], from 0.
      groups: int64[rows], from 0; rows of one group stay on one side (`leaks.groups`).
      fraction: share of each class's rows to take, but at least one group where a class has two.

    Returns:
      (train, validation): int64 row numbers, ascending.
    """
    random = np.random.default_rng(seed)
    classes = labels.max() + 1
    _, groups = np.unique(groups, return_inverse=True)
    counts = np.bincount(groups * classes + labels, minlength=(groups.max() + 1) * classes)
    counts = counts.reshape(-1, classes)  # rows of each group in each class
    sizes, majority = counts.sum(axis=1), counts.argmax(axis=1)

    chosen = np.zeros(len(sizes), bool)
    for label in range(classes):
        members = random.permutation(np.flatnonzero(majority == label))
        wanted = max(round(sizes[members].sum() * fraction), 1)
        members = members[sizes[members] <= wanted]
        taken = members[np.cumsum(sizes[members]) <= wanted]
        chosen[taken if len(taken) < np.count_nonzero(majority == label) else taken[:-1]] = True
    validation = chosen[groups]
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def stratified(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Draws ``count`` rows at random, each class in its share and at least once.

    Shares are rounded by largest remainder, after the one row that every class has for certain.

    Args:
      labels: int64[rows], from 0.
      count: from the number of classes present to the number of rows.

    Returns:
      int64[count] row numbers, ascending.
    """
    random = np.random.default_rng(seed)
    sizes = np.bincount(labels)
    share = sizes / sizes.sum() * count
    quota = np.maximum(np.floor(share).astype(np.int64), np.minimum(sizes, 1))
    while (lack := count - quota.sum()) != 0:
        # give to the class furthest below its share, take from the one furthest above it
        room = (quota < sizes) if lack > 0 else (quota > 1)
        distance = np.where(room, (share - quota) * np.sign(lack), -np.inf)
        quota[distance.argmax()] += np.sign(lack)
    rows = [random.permutation(np.flatnonzero(labels == label))[:size] for label, size in enumerate(quota)]
    return np.sort(np.concatenate(rows))
