from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from sentiment_tf.config import TrainConfig
from sentiment_tf.modeling.features import Features
from sentiment_tf.pipeline import solved_head
from sentiment_tf.training import fitting
from tests.support.tiny_classifier import make_tiny_classifier

CONFIG = TrainConfig(dataset="sst2", head="solve")


def state_of(labels: np.ndarray) -> SimpleNamespace:
    texts = datasets.Dataset.from_dict({"text": [f"text number {number}" for number in range(len(labels))]})
    splits = SimpleNamespace(label_names=("NEGATIVE", "POSITIVE"), rows={"train": texts})
    labels = {"train": labels, "validation": labels}
    return SimpleNamespace(labels=labels, splits=splits, strategy=None, model=make_tiny_classifier(seed=1))


def features_of(vectors: np.ndarray) -> dict[str, Features]:
    return dict.fromkeys(("train", "validation"), Features(vectors.astype(np.float32), None, 8))


def test_the_history_ends_with_the_heads_own_scores_and_a_killed_run_reads_it(tmp_path):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60).astype(np.int32)
    vectors = random.normal(size=(60, 32)) + labels[:, None]
    state, called = state_of(labels), []
    callback = SimpleNamespace(on_epoch_end=lambda epoch, logs: called.append((epoch, logs["val_loss"])))
    history = solved_head.fit(CONFIG, state, features_of(vectors), folder=tmp_path, callbacks=[callback])
    assert called == [(row["epoch"] - 1, row["val_loss"]) for row in history]
    first, second = state.model.pre_classifier, state.model.classifier
    hidden = np.maximum(vectors @ first.kernel.numpy() + first.bias.numpy(), 0)
    logits = hidden @ second.kernel.numpy() + second.bias.numpy()
    assert history[-1]["val_loss"] == pytest.approx(fitting.loss_and_accuracy(logits, labels)["loss"], abs=1e-4)
    again = state_of(labels)
    assert solved_head.fit(CONFIG, again, features_of(vectors), folder=tmp_path) == history
    np.testing.assert_array_equal(again.model.classifier.kernel.numpy(), state.model.classifier.kernel.numpy())


def test_vectors_that_say_nothing_leave_one_row_at_chance():
    labels = np.tile([0, 1], 20).astype(np.int32)
    (row,) = solved_head.fit(CONFIG, state_of(labels), features_of(np.ones([40, 32])), folder=None)
    assert row["loss"] == pytest.approx(np.log(2))
