"""Event files, read back."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from sentiment_tf.config import INCIDENTAL
from sentiment_tf.evaluation import metrics
from sentiment_tf.reporting import tensorboard
from sentiment_tf.training import keras_internals


def events(directory):
    """Returns {tag: [(step, value), …]} of one folder's files."""
    found = event_accumulator.EventAccumulator(str(directory), size_guidance={"tensors": 0})
    found.Reload()
    return {
        tag: [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


class AddsValidation(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs |= {"val_loss": 0.5 + epoch, "val_accuracy": 0.75, "padding": 0.08}


class Losses(keras.callbacks.Callback):
    """The loss of each batch, from what Keras gives: the mean so far."""

    def __init__(self):
        super().__init__()
        self.each = []

    def on_train_batch_end(self, batch, logs=None):
        self.each.append(logs["loss"] * (batch + 1) - sum(self.each[len(self.each) - batch :]))


def fit(*callbacks, rows=28, epochs=2, at=(0, 0), steps_done=0, steps_at_once=1):
    """Fits 7 steps per epoch, from ``at`` (epoch, step) on."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(rows, 3)).astype(np.float32)
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 14, 0.0)
    model.compile(keras.optimizers.AdamW(schedule), loss, metrics=["accuracy"], steps_per_execution=steps_at_once)
    model.optimizer.iterations.assign(steps_done)
    labels = (features[:, 0] > 0).astype(np.int32)
    with keras_internals.fit_begins_at(model, epoch=at[0], step=at[1]):
        model.fit(features, labels, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks))


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    directory = tmp_path_factory.mktemp("logs")
    losses = Losses()
    fit(losses, AddsValidation(), tensorboard.Curves(directory, batch_size=4, every=3))
    return events(directory / "train"), events(directory / "validation"), losses.each


def test_points_by_step_and_at_the_end_of_each_epoch(curves):
    train, _, _ = curves
    assert [step for step, _ in train["step/loss"]] == [3, 6, 7, 10, 13, 14]
    assert set(train) == {
        "step/loss",
        "step/accuracy",
        "step/learning_rate",
        "step/examples_per_second",
        "epoch/loss",
        "epoch/accuracy",
        "epoch/padding",
    }
    assert all(value > 0 for _, value in train["step/examples_per_second"])


def test_step_loss_is_the_mean_since_the_last_point(curves):
    train, _, losses = curves
    windows = [losses[0:3], losses[3:6], losses[6:7], losses[7:10], losses[10:13], losses[13:14]]
    found = [value for _, value in train["step/loss"]]
    np.testing.assert_allclose(found, [np.mean(window) for window in windows], rtol=1e-4)


def test_learning_rate_is_that_of_the_schedule(curves):
    train, _, _ = curves
    found = dict(train["step/learning_rate"])
    # Read after the step was counted: step 14 of 14 is at the schedule's end.
    assert found[14] <= 0.1 / 14 + 1e-6
    assert found[3] > found[7] > found[13]


def test_train_and_validation_share_their_tags(curves):
    train, validation, _ = curves
    assert set(validation) == {"epoch/loss", "epoch/accuracy"}
    assert [(step, float(value)) for step, value in validation["epoch/loss"]] == [(1, 0.5), (2, 1.5)]
    assert [step for step, _ in train["epoch/loss"]] == [1, 2]


@pytest.mark.parametrize(("steps_at_once", "passed"), [(1, [1, 3, 1]), (2, [2, 2, 1])])
def test_rate_of_a_training_that_goes_on_counts_its_own_steps_alone(tmp_path, monkeypatch, steps_at_once, passed):
    ticks = itertools.count()  # a clock that shows one second more each time
    monkeypatch.setattr(tensorboard, "time", types.SimpleNamespace(perf_counter=lambda: next(ticks)))
    curves = tensorboard.Curves(tmp_path, batch_size=4, every=3)
    fit(curves, epochs=1, at=(0, 2), steps_done=2, steps_at_once=steps_at_once)
    rates = [float(value) for _, value in events(tmp_path / "train")["step/examples_per_second"]]
    assert rates == [4 * steps for steps in passed]


def test_trainings_in_folders_of_their_own_stay_apart(tmp_path):
    for depth, epochs in ((0, 1), (1, 2)):
        fit(tensorboard.Curves(tmp_path / f"depth-{depth}", batch_size=4, every=7), epochs=epochs)
    found = [events(tmp_path / f"depth-{depth}" / "train")["step/loss"] for depth in (0, 1)]
    assert [[step for step, _ in points] for points in found] == [[7], [7, 14]]


def test_a_training_that_goes_on_behind_the_profiled_steps_profiles_nothing(tmp_path):
    fit(tensorboard.Profile(tmp_path, first=2, last=3), epochs=1, at=(0, 3), steps_done=3)
    assert not list(tmp_path.glob("plugins/profile/*"))


def test_profile_is_written_even_if_training_is_shorter(tmp_path):
    fit(tensorboard.Profile(tmp_path, first=2, last=99), epochs=1)
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


@pytest.fixture(scope="module")
def results(run, rows, tmp_path_factory):
    directory = tmp_path_factory.mktemp("logs")
    tensorboard.write_results(directory, run=run, rows=rows)
    return directory, events(directory)


def test_results_are_the_metrics(results, run):
    _, found = results
    for name in ("accuracy", "loss", "roc_auc", "ece"):
        assert float(found[f"result/{name}"][0][1]) == pytest.approx(run["metrics"]["after"][name])
    assert float(found["result/minutes"][0][1]) == pytest.approx(63.5 / 60)


def test_images_are_pngs(results):
    _, found = results
    for tag in ("confusion", "reliability"):
        width, height, picture = found[tag][0][1]
        assert picture.startswith(b"\x89PNG")
        assert int(width) > 400
        assert int(height) > 300


def test_precision_recall_curve_counts_the_rows(results, rows):
    _, found = results
    true, false, _, missed, precision, _ = found["precision_recall/POSITIVE/pr_curves"][0][1]
    positives = int((rows.labels == 1).sum())
    assert true[0] == positives  # at threshold 0 everything is called positive
    assert false[0] == len(rows.labels) - positives
    assert missed[0] == 0
    assert precision[0] == pytest.approx(positives / len(rows.labels))


def test_texts_are_tables_that_markdown_leaves_alone(results):
    _, found = results
    table = found["misclassified"][0][1]
    assert [cell.decode() for cell in table[0]] == ["row", "true", "predicted", "probability", "text"]
    names, texts = ([row[column].decode() for row in table[1:]] for column in (0, 4))
    assert names == [rf"films\.csv, row {number}" for number in (101, 102, 103)]  # the rows that are wrong
    assert texts[0].startswith("\\<script\\>")
    assert texts[2].endswith("?")  # half a surrogate pair
    settings = {row[0].decode(): row[1].decode() for row in found["settings"][0][1]}
    assert settings["max\\_length"] == "128"
    assert "data\\_dir" not in settings


def hparams(directory):
    """Returns {tag: content} of the HParams plugin in one folder's event files."""
    contents = {}
    for file in directory.glob("events*"):
        for record in tf.data.TFRecordDataset(str(file)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    contents[value.tag] = plugin_data_pb2.HParamsPluginData.FromString(
                        value.metadata.plugin_data.content
                    )
    return contents


def test_hparams_row_holds_the_settings_and_names_the_metrics(results):
    directory, _ = results
    contents = hparams(directory)
    session = contents["_hparams_/session_start_info"].session_start_info.hparams
    assert session["learning_rate"].number_value == 0.001
    assert session["offline"].bool_value is True
    experiment = contents["_hparams_/experiment"].experiment
    # TensorBoard takes the columns of all runs from one: what this run lacks is declared, too.
    names = [metric.name for metric in metrics.METRICS]
    over_seeds = [f"{name}_{statistic}" for name in names for statistic in ("mean", "least", "most")]
    tags = {f"result/{name}" for name in (*names, "minutes", *over_seeds)}
    assert {info.name.tag for info in experiment.metric_infos} == tags
    assert "data_dir" not in session
    assert {"data_dir", "learning_rate"} <= {info.name for info in experiment.hparam_infos}


def test_runs_that_differ_in_incidental_settings_alone_have_the_same_hparams_row(run, rows, tmp_path):
    found = []
    for number, settings in enumerate(
        (
            {"cache": "on", "checkpoint_every": None, "startup_timeout": 600.0, "quiet": False, "output_dir": "a"},
            {"cache": "off", "checkpoint_every": 10, "startup_timeout": 5.0, "quiet": True, "output_dir": "b"},
        )
    ):
        config = run["config"] | settings
        tensorboard.write_results(tmp_path / str(number), run=run | {"config": config}, rows=rows)
        found.append(hparams(tmp_path / str(number))["_hparams_/session_start_info"].session_start_info)
    first, second = found
    assert first.group_name == second.group_name
    assert first.hparams == second.hparams
    assert not first.hparams.keys() & {*INCIDENTAL}
    changed = run | {"config": run["config"] | {"learning_rate": 0.002}}
    tensorboard.write_results(tmp_path / "changed", run=changed, rows=rows)
    third = hparams(tmp_path / "changed")["_hparams_/session_start_info"].session_start_info
    assert third.group_name != first.group_name
