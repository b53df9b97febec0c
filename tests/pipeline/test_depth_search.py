import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from sentiment_tf.config import TrainConfig
from sentiment_tf.errors import NoRoomError
from sentiment_tf.pipeline import depth_search
from sentiment_tf.pipeline.setup import Cut

CONFIG = TrainConfig(dataset="sst2", trainable_layers="auto", accuracy_tolerance=0.5)


def rows(*accuracies, seconds=10.0, epochs=3):
    return [
        {"trainable_layers": depth, "accuracy": accuracy, "training_seconds": seconds * (depth + 1), "epochs": epochs}
        for depth, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("accuracies", "tolerance", "chosen"),
    [([0.7, 0.8, 0.9], 0.005, 2), ([0.7, 0.896, 0.9], 0.005, 1), ([0.9, 0.8, 0.9], 0.005, 0), ([0.7, 0.8], 0.2, 0)],
)
def test_the_cheapest_within_the_tolerance_of_the_best_is_chosen(accuracies, tolerance, chosen):
    assert depth_search.choose(rows(*accuracies), tolerance=tolerance) == chosen


def tried(**accuracies):
    return [{"trainable_layers": int(depth[1:]), "accuracy": accuracy} for depth, accuracy in accuracies.items()]


@pytest.mark.parametrize(
    ("so_far", "following"),
    [
        ({}, 0),
        ({"d0": 0.7}, 1),
        ({"d0": 0.7, "d1": 0.8}, 6),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85}, 6),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.803}, None),  # depth 1 is as good, and nothing lies between it and the head
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d6": 0.853}, 2),
        ({"d0": 0.7, "d1": 0.8, "d2": 0.82, "d4": 0.85, "d6": 0.853}, 3),
        ({"d0": 0.7, "d1": 0.8, "d2": 0.82, "d3": 0.84, "d4": 0.85, "d6": 0.853}, None),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d6": 0.9}, 5),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d5": 0.9, "d6": 0.9}, None),
        ({"d0": 0.7, "d1": 0.701}, None),
    ],
)
def test_the_deepest_follows_where_a_block_pays_then_the_gap_is_halved(so_far, following):
    assert depth_search.next_depth(tried(**so_far), 6, tolerance=0.005) == following


@pytest.mark.parametrize(
    ("deepest", "time_budget", "depths", "shared"),
    [(6, None, [0, 1, 5], [1, 5]), (6, 30.0, [0, 1, 6], [1]), (2, None, [0, 1], [1]), (1, None, [0, 1], [])],
)
def test_without_a_time_budget_one_block_stays_frozen(deepest, time_budget, depths, shared):
    config = dataclasses.replace(CONFIG, time_budget=time_budget)
    assert depth_search.first_depths(config, deepest) == depths
    assert depth_search.shared(config, deepest) == shared


def reason(rows, depth, spent, *, forward, time_budget=1.0):
    config = dataclasses.replace(CONFIG, time_budget=time_budget)
    return depth_search.skip_reason(config, rows, depth, 6, spent, forward=forward)


def test_skips_a_depth_that_would_pass_the_budget_and_says_so():
    # 30 s are gone; the next depth takes the last one's 20 s and what it grew by, 10 s: a minute.
    assert reason(rows(0.7, 0.8), 2, 30.0, forward=1.0) is None
    assert "--time_budget=1.0" in reason(rows(0.7, 0.8), 2, 31.0, forward=1.0)
    # Three epochs of forward and backward through a second block take 9 times its forward pass: 18 s, not 10.
    assert reason(rows(0.7, 0.8), 2, 22.0, forward=2.0) is None
    assert "--time_budget=1.0" in reason(rows(0.7, 0.8), 2, 23.0, forward=2.0)
    # One epoch, after which training stopped early: 6 s are less than the 10 by which the last one grew.
    assert reason(rows(0.7, 0.8, epochs=1), 2, 30.0, forward=2.0) is None
    assert reason([], 0, 100.0, forward=1.0) is None
    # Beside the head alone, which took 10 s, two blocks take 36.
    assert reason(rows(0.7), 2, 14.0, forward=2.0) is None
    assert "--time_budget=1.0" in reason(rows(0.7), 2, 15.0, forward=2.0)
    assert reason(rows(0.7), 1, 59.0, forward=1.0) is None
    assert "--time_budget=1.0" in reason(rows(0.7), 1, 60.0, forward=1.0)


def test_a_depth_between_two_known_ones_takes_a_time_between_theirs():
    known = [dict(row, trainable_layers=depth) for row, depth in zip(rows(0.7, 0.8, 0.9), (0, 1, 4), strict=True)]
    # 20 and 30 s at depths 1 and 4: 23.33 at depth 2, whatever a block takes beyond.
    assert reason(known, 2, 36.6, forward=5.0) is None
    assert reason(known, 2, 36.7, forward=5.0)


def test_without_a_budget_three_depths_are_tried():
    assert reason(rows(0.7, 0.8), 5, 1000.0, forward=1.0, time_budget=None) is None
    assert "0, 1, 5" in reason(rows(0.7, 0.8, 0.9), 3, 0.0, forward=1.0, time_budget=None)


class Model:
    """A model that says at which depth it was trained last."""

    config = SimpleNamespace(n_layers=6)

    def __init__(self):
        self.trained = "pretrained"

    def get_weights(self):
        return self.trained

    def set_weights(self, weights):
        self.trained = weights


@pytest.fixture
def searched(monkeypatch, tmp_path):
    """Searches with a model that gains 3 points a block and takes 10 s more, and says what was done."""

    def search(features_seconds=0.0, *, no_room=(), killed_at=None, **settings):
        model, done = Model(), SimpleNamespace(trained=[], cut=[])
        splits = SimpleNamespace(report_split="test")
        strategy = tf.distribute.get_strategy()
        prepared = SimpleNamespace(model=model, splits=splits, strategy=strategy, checkpoints=tmp_path)

        def cut(config, prepared, depth, *, only):
            done.cut.append((depth, list(only)))
            if depth in no_room:
                raise NoRoomError(f"no room for {depth}")
            return Cut(f"tail {depth}", {})

        def fit(config, prepared, at, *, name, callbacks):
            assert model.trained == "pretrained"
            if config.depth == killed_at:
                raise KeyboardInterrupt
            model.trained = name
            done.trained.append(config.depth)
            return [{"val_accuracy": 0.7 + 0.03 * config.depth, "seconds": 10.0 * (config.depth + 1)}]

        monkeypatch.setattr(depth_search.setup, "cut", cut)
        monkeypatch.setattr(depth_search.fine_tuning, "fit", fit)
        features = {split: SimpleNamespace(seconds=features_seconds / 2) for split in ("train", "validation")}
        done.at, done.history, done.rows, done.skipped = depth_search.search(
            dataclasses.replace(CONFIG, **settings),
            prepared,
            Cut("tail 0", features),
            features_seconds=features_seconds,
            callbacks=lambda name: [],
        )
        done.weights = model.trained
        done.skipped = {row["trainable_layers"]: row["reason"] for row in done.skipped}
        return done

    return search


def test_the_model_is_left_as_the_chosen_depth_was_trained_and_cut_for_what_is_scored(searched):
    done = searched()
    assert done.trained == [0, 1, 5]
    assert [row["trainable_layers"] for row in done.rows if row.get("chosen")] == [5]
    assert (done.weights, done.at.tail, done.history[0]["seconds"]) == ("depth-5", "tail 5", 60.0)
    training = ["train", "validation"]
    assert done.cut == [(1, training), (5, training), (5, ["validation", "test"])]
    assert list(done.skipped) == [3]


def test_the_head_needs_no_other_cut(searched):
    done = searched(accuracy_tolerance=90.0)
    assert done.trained == [0, 1]
    assert (done.weights, done.at.tail) == ("depth-0", "tail 0")


def test_a_killed_search_goes_on_as_it_had_decided(searched, tmp_path):
    """After a kill, features and finished depths take no time: the clock must not decide anew."""
    alone = searched(60.0, time_budget=2.0)
    assert alone.trained == [0, 1]  # 60 + 10 + 50 of trunk + 20 s are gone, and two blocks would take 40 + 30 s
    assert list(alone.skipped) == [6, 5, 4, 3, 2]
    assert vars(searched(0.0, time_budget=2.0)) == vars(alone)
    (tmp_path / depth_search.DECISIONS).unlink()
    assert searched(0.0, time_budget=2.0).trained == [0, 1, 6]  # 3 would end too late


@pytest.mark.parametrize("killed_at", [0, 1, 3, 4, 6])
def test_a_search_that_is_killed_while_a_depth_trains_ends_as_if_left_alone(searched, tmp_path, killed_at):
    alone = searched(12.0, time_budget=4.0)
    assert (alone.trained, list(alone.skipped)) == ([0, 1, 6, 3, 4], [5])
    (tmp_path / depth_search.DECISIONS).unlink()
    with pytest.raises(KeyboardInterrupt):
        searched(12.0, time_budget=4.0, killed_at=killed_at)
    assert vars(searched(0.0, time_budget=4.0)) == vars(alone)


def test_a_depth_whose_features_do_not_fit_the_disk_is_skipped(searched):
    done = searched(no_room=[5])
    assert (done.trained, done.skipped) == ([0, 1], {5: "no room for 5"})
    assert done.weights == "depth-1"


def test_where_no_features_fit_the_disk_every_block_may(searched, tmp_path):
    done = searched(no_room=range(1, 6), time_budget=9.0)
    assert (done.trained, list(done.skipped)) == ([0, 6], [1, 3])
    (tmp_path / depth_search.DECISIONS).unlink()
    done = searched(no_room=range(1, 6), time_budget=0.1)
    assert (done.trained, list(done.skipped)) == ([0], [1])


def test_what_was_trained_is_not_given_up_for_want_of_room(searched, tmp_path):
    searched()
    with pytest.raises(NoRoomError):
        searched(no_room=[5])
