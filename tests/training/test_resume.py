import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import trainable
from sentiment_tf.modeling.features import Features
from sentiment_tf.system import signals
from sentiment_tf.training import callbacks, checkpoints, fitting
from tests.support.tiny_classifier import make_tiny_classifier

ROWS, BATCH, EPOCHS = 45, 16, 3
STEPS = 3  # per epoch


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Ends training without a chance to tidy up, after a step counted from 1 over the whole run."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self._step:
            raise Killed


class SignalAt(KillAt):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def inputs() -> tuple[Features, np.ndarray]:
    """Token ids of random texts, and their labels."""
    random = np.random.default_rng(5)
    lengths = random.integers(3, 15, ROWS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(1, 200, lengths.sum()).astype(np.uint16)
    return Features(ids, offsets, 64), random.integers(0, 2, ROWS).astype(np.int32)


def train(
    inputs, folder, *, callbacks=(), every=None, patience=None, scores=None, dtype=tf.float32, depth="all", parts=1
):
    """Trains a new tiny model, or continues; returns (its weights, the rows of the epochs without clock times)."""
    features, labels = inputs
    model = make_tiny_classifier(seed=1, blocks=1)
    layers = trainable.TrainableLayers(model, depth=depth, compute_dtype=dtype, seed=3, parts=parts)
    config = TrainConfig(
        epochs=EPOCHS,
        batch_size=BATCH,
        seed=9,
        learning_rate=5e-3,
        early_stopping_patience=patience,
        checkpoint_every=every,
    )
    fitting.compile_model(config, layers, rows=len(features))

    def validate():
        found = fitting.loss_and_accuracy(fitting.predict_logits(layers, features), labels)
        return found if scores is None else found | {"accuracy": scores[int(layers.optimizer.iterations) // STEPS - 1]}

    history = fitting.fit(config, layers, features, labels, validate=validate, callbacks=callbacks, checkpoints=folder)
    return model.get_weights(), [{**row, "seconds": 0} for row in history]


def same(one, other) -> None:
    for mine, theirs in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one[1] == other[1]


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    return train(inputs, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.slow
def test_checkpoints_change_nothing(inputs, undisturbed, tmp_path):
    same(undisturbed, train(inputs, None))
    same(undisturbed, train(inputs, tmp_path, every=1))


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "newest"), [(20, 10), (47, 37)])
def test_the_head_whose_steps_run_ten_at_once_goes_on_inside_an_epoch(tmp_path, kill, newest):
    random = np.random.default_rng(5)
    rows = 27 * BATCH - 3  # an epoch is ten, ten and seven steps
    inputs = Features(random.normal(size=(rows, 32)).astype(np.float32), None, 64), random.integers(0, 2, rows)
    expected = train(inputs, tmp_path / "undisturbed", depth=0, every=10)
    with pytest.raises(Killed):
        train(inputs, tmp_path / "killed", depth=0, every=10, callbacks=[KillAt(kill)])
    assert int(checkpoints.files(tmp_path / "killed")[0].stem.split("-")[0]) == newest
    same(expected, train(inputs, tmp_path / "killed", depth=0, every=10))


# Before the first checkpoint, inside an epoch, at its last step, inside the last epoch; checkpoints by epoch or step.
@pytest.mark.slow
@pytest.mark.parametrize(("kill", "every"), [(2, None), (5, None), (6, 2), (5, 1), (8, 1)])
def test_a_killed_training_ends_as_an_undisturbed_one_bit_for_bit(inputs, undisturbed, tmp_path, kill, every):
    with pytest.raises(Killed):
        train(inputs, tmp_path, callbacks=[KillAt(kill)], every=every)
    same(undisturbed, train(inputs, tmp_path, every=every))


@pytest.mark.slow
def test_the_loss_scale_goes_on_too(inputs, tmp_path):
    with pytest.raises(Killed):
        train(inputs, tmp_path / "killed", callbacks=[KillAt(5)], every=2, dtype=tf.float16)
    same(train(inputs, None, dtype=tf.float16), train(inputs, tmp_path / "killed", dtype=tf.float16))


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.AdamW])
def test_any_keras_optimizer_goes_on_bit_for_bit(inputs, tmp_path, monkeypatch, make):
    monkeypatch.setattr(fitting, "make_optimizer", lambda config, model, steps: make())
    with pytest.raises(Killed):
        train(inputs, tmp_path, callbacks=[KillAt(5)], every=2, parts=2)
    same(train(inputs, None, parts=2), train(inputs, tmp_path, every=2, parts=2))


def test_a_training_that_ended_is_not_repeated(inputs, undisturbed, tmp_path):
    train(inputs, tmp_path)
    same(undisturbed, train(inputs, tmp_path, callbacks=[KillAt(1)]))


@pytest.mark.slow
def test_early_stopping_goes_on_waiting_and_keeps_the_best_weights(inputs, tmp_path):
    settings = {"patience": 2, "scores": [0.9, 0.5, 0.5]}
    whole = train(inputs, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        train(inputs, tmp_path / "killed", callbacks=[KillAt(8)], every=1, **settings)
    same(whole, train(inputs, tmp_path / "killed", **settings))


@pytest.mark.slow
def test_a_kill_between_the_last_epoch_and_the_end_trains_no_further_epoch(inputs, tmp_path, monkeypatch):
    settings = {"patience": 1, "scores": [0.9, 0.5, 0.5]}
    whole = train(inputs, tmp_path / "whole", **settings)

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(callbacks.KeepBest, "on_train_end", killed)
    with pytest.raises(Killed):
        train(inputs, tmp_path / "killed", **settings)
    monkeypatch.undo()
    same(whole, train(inputs, tmp_path / "killed", **settings))
    assert [row["epoch"] for row in whole[1]] == [1, 2]


@pytest.fixture(scope="module")
def killed(inputs, tmp_path_factory):
    """The checkpoints of a training that was best after its first epoch and killed at step 8; not to be changed."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        train(inputs, folder, callbacks=[KillAt(8)], every=1, scores=[0.9, 0.5, 0.5])
    return folder


def test_only_the_newest_and_the_best_are_kept(killed):
    assert [int(path.name.split("-")[0]) for path in checkpoints.files(killed)] == [7, 3]


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(inputs, undisturbed, killed, tmp_path, caplog):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    newest = checkpoints.files(tmp_path)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    caplog.set_level("WARNING", logger="sentiment_tf")
    again = train(inputs, tmp_path)
    same(
        undisturbed,
        (again[0], [{**row, "val_accuracy": undisturbed[1][n]["val_accuracy"]} for n, row in enumerate(again[1])]),
    )
    assert f"{newest}: this checkpoint is damaged" in caplog.text


def test_sigterm_writes_a_checkpoint_at_the_batchs_end(inputs, undisturbed, tmp_path):
    with pytest.raises(signals.Terminated, match="after step 4 "):
        train(inputs, tmp_path, callbacks=[SignalAt(4)])
    assert int(checkpoints.files(tmp_path)[0].name.split("-")[0]) == 4
    same(undisturbed, train(inputs, tmp_path))


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_good_checkpoint(inputs, tmp_path):
    class Spoil(KillAt):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 4:
                self.model.head[-1].bias.assign([np.nan, 0.0])

        def on_train_batch_end(self, batch, logs=None):
            pass

    with pytest.raises(UserError, match="the loss is nan at step 5 .*step 3 is kept.*--learning_rate"):
        train(inputs, tmp_path, callbacks=[Spoil(0)])
    assert np.isfinite(checkpoints.read_newest(tmp_path).arrays["weights.0000"]).all()


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    checkpoints.write(tmp_path, step=1, arrays={"a": np.arange(3)}, record={"epoch": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(tmp_path, step=2, arrays={"a": np.arange(4)}, record={"epoch": 2})
    monkeypatch.undo()
    found = checkpoints.read_newest(tmp_path)
    np.testing.assert_array_equal(found.arrays["a"], [0, 1, 2])
    assert found.record == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1
