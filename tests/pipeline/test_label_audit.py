from types import SimpleNamespace

import datasets
import numpy as np
import tensorflow as tf

from sentiment_tf.config import TrainConfig
from sentiment_tf.distributed import collectives
from sentiment_tf.pipeline import label_audit
from sentiment_tf.training import head_solver

ROWS = 40


def test_with_several_workers_only_the_chief_solves_the_heads(monkeypatch):
    labels = np.arange(ROWS) % 2
    texts = datasets.Dataset.from_dict({"text": [f"text w{row} of its own" for row in range(ROWS)]})
    splits = SimpleNamespace(label_names=("bad", "good"), rows={"train": texts})
    state = SimpleNamespace(strategy=tf.distribute.get_strategy(), labels={"train": labels}, splits=splits)
    vectors = np.stack([labels, np.arange(ROWS) / ROWS], axis=1).astype(np.float32)
    at = SimpleNamespace(features={"train": SimpleNamespace(values=vectors)})

    solved = []
    solve = head_solver.out_of_fold
    monkeypatch.setattr(
        head_solver, "out_of_fold", lambda *args, **settings: solved.append(1) or solve(*args, **settings)
    )
    for index in (0, 1):
        monkeypatch.setattr(collectives, "workers", lambda strategy, index=index: (index, 2))
        found = label_audit.audit(TrainConfig(), state, at, 0)
        assert (found is None) == (index == 1)
    assert solved == [1]
