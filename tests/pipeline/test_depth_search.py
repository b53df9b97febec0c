import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from sentiment_tf.config import TrainConfig
from sentiment_tf.errors import NoRoomError, UserError
from sentiment_tf.pipeline import depth_search
from sentiment_tf.pipeline.depth_search import Costs, Limits, Trial
from sentiment_tf.pipeline.setup import Trainable

CONFIG = TrainConfig(dataset="sst2", trainable_layers="auto", accuracy_tolerance=0.5)
FREE = Costs(features=0.0, frozen_block=0.0, train_block=0.0)


def limits(time_budget=None, *, blocks=6, **settings):
    return Limits.of(dataclasses.replace(CONFIG, time_budget=time_budget, **settings), blocks)


def trials(*accuracies, depths=None, seconds=10.0, epochs=3):
    """The first depths trained, 10 s more for each block."""
    depths = depths or range(len(accuracies))
    return [
        Trial(depth, accuracy, seconds * (place + 1), epochs)
        for place, (depth, accuracy) in enumerate(zip(depths, accuracies, strict=True))
    ]


@pytest.mark.parametrize(
    ("accuracies", "tolerance", "within"),
    [
        ([0.7, 0.8, 0.9], 0.005, [2]),
        ([0.7, 0.896, 0.9], 0.005, [1, 2]),
        ([0.9, 0.8, 0.9], 0.005, [0, 2]),
        ([0.7, 0.8], 0.2, [0, 1]),
        ([0.895, 0.9], 0.005, [0, 1]),  # by the tolerance itself
    ],
)
def test_depths_within_the_tolerance_of_the_best_are_good(accuracies, tolerance, within):
    table = [*reversed(trials(*accuracies)), Trial(3, no_time="too late")]
    assert [trial.depth for trial in depth_search.good(table, tolerance=tolerance)] == within


@pytest.mark.parametrize(
    ("so_far", "following"),
    [
        ({}, 0),
        ({0: 0.7}, 1),
        ({0: 0.7, 1: 0.8}, 6),
        ({0: 0.7, 1: 0.8, 4: 0.85}, 6),
        ({0: 0.7, 1: 0.8, 4: 0.803}, None),  # depth 1 is as good, and nothing lies between it and the head
        ({0: 0.7, 1: 0.8, 6: 0.853, 4: 0.85}, 2),
        ({0: 0.7, 1: 0.8, 6: 0.853, 4: 0.85, 2: 0.82}, 3),
        ({0: 0.7, 1: 0.8, 6: 0.853, 4: 0.85, 2: 0.82, 3: 0.84}, None),
        ({0: 0.7, 1: 0.8, 6: 0.9, 4: 0.85}, 5),
        ({0: 0.7, 1: 0.8, 6: 0.9, 4: 0.85, 5: 0.9}, None),
        ({0: 0.7, 1: 0.701}, None),
    ],
)
def test_the_deepest_follows_where_a_block_pays_then_the_gap_is_halved(so_far, following):
    table = [Trial(depth, accuracy) for depth, accuracy in so_far.items()]
    step = depth_search.plan(table, limits(60.0), FREE)
    assert step == (None if following is None else Trial(following))


LATE = {"no_time": "too late"}
FULL = {"no_room": "the disk is full"}


@pytest.mark.parametrize(
    ("table", "time_budget", "following"),
    [
        # Without time for a depth, something shallower may follow; not below what is trained.
        ([*trials(0.7, 0.8), Trial(6, **LATE)], 60.0, 5),
        ([*trials(0.7, 0.8), Trial(6, **LATE), Trial(5, **LATE)], 60.0, 4),
        ([*trials(0.7, 0.8), *(Trial(depth, **LATE) for depth in (6, 5, 4, 3, 2))], 60.0, None),
        ([*trials(0.7), Trial(1, **LATE)], 60.0, None),
        # Without a gap's depth the search is over.
        ([*trials(0.7, 0.8, 0.9, depths=(0, 1, 6)), Trial(3, **LATE)], 60.0, None),
        # Without room for features, all blocks may be trained: they need none.
        ([*trials(0.7), Trial(1, **FULL)], 60.0, 6),
        ([*trials(0.7), Trial(1, **FULL), Trial(6, **LATE)], 60.0, None),
        ([*trials(0.7, 0.9, depths=(0, 6)), Trial(3, **FULL)], 60.0, None),
        # Without a budget nothing follows a depth that was skipped.
        ([*trials(0.7, 0.8), Trial(5, **FULL)], None, None),
    ],
)
def test_what_follows_a_skipped_depth(table, time_budget, following):
    step = depth_search.plan(table, limits(time_budget), FREE)
    assert (step and step.depth) == following


@pytest.mark.parametrize(
    ("deepest", "time_budget", "depths", "shared"),
    [(6, None, [0, 1, 5], [1, 5]), (6, 30.0, [0, 1, 6], [1]), (2, None, [0, 1], [1]), (1, None, [0, 1], [])],
)
def test_without_a_time_budget_one_block_stays_frozen(deepest, time_budget, depths, shared):
    config = dataclasses.replace(CONFIG, time_budget=time_budget)
    assert depth_search.first_depths(config, deepest) == depths
    assert depth_search.shared(config, deepest) == shared


def step(table, *, spent, train_block=0.0, frozen_block=0.0, **settings):
    return depth_search.plan(table, limits(1.0, **settings), Costs(spent, frozen_block, train_block))


LATER = Trial(6, **LATE), Trial(5, **LATE), Trial(4, **LATE), Trial(3, **LATE)  # so that depth 2 comes next


def test_a_depth_that_would_pass_the_budget_is_skipped_with_the_reason():
    # 10 and 20 s of training are gone; the next depth takes 20 s and what the last one grew by, 10 s: 60 in all.
    table = [*trials(0.7, 0.8), *LATER]
    assert step(table, spent=0.0, train_block=1.0) == Trial(2)
    assert step(table, spent=0.6, train_block=1.0) == Trial(
        2, no_time="the search would take 1.0 of --time_budget=1.0 minutes"
    )
    # Three epochs of forward and backward passes through a second block take 9 times its forward pass: 13.5 s, not 10.
    assert step(table, spent=0.0, train_block=1.5).no_time
    # One epoch, after which training stopped early: 4.5 s are less than the 10 by which the last one grew.
    assert step([*trials(0.7, 0.8, epochs=1), *LATER], spent=0.0, train_block=1.5) == Trial(2)


def test_the_head_is_never_skipped_and_one_block_once_the_time_has_passed():
    assert step([], spent=100.0) == Trial(0)
    assert step(trials(0.7), spent=49.0) == Trial(1)
    assert step(trials(0.7), spent=50.0) == Trial(1, no_time="it would begin after --time_budget=1.0 minutes")


def test_beside_the_head_alone_each_block_takes_its_passes():
    # 10 s are gone; all blocks take the head's 10 s and six times 9 forward passes.
    table = [*trials(0.7), Trial(1, **FULL)]
    assert step(table, spent=0.0, train_block=0.7) == Trial(6)  # 10 + 10 + 6 × 6.3 = 57.8 s
    assert step(table, spent=0.0, train_block=0.8).no_time  # 10 + 10 + 6 × 7.2 = 63.2 s


def test_a_depth_between_two_trained_ones_takes_a_time_between_theirs():
    # 10 + 20 + 3 s are gone, and depth 3 takes 13.2, on the line from 20 s at depth 1 to 3 s at depth 6: 46.2 in all.
    table = [Trial(0, 0.7, 10.0, 3), Trial(1, 0.8, 20.0, 3), Trial(6, 0.9, 3.0, 3)]
    assert step(table, spent=13.7, train_block=5.0) == Trial(3)
    assert step(table, spent=13.9, train_block=5.0).no_time


def test_frozen_blocks_count_unless_the_heads_forward_pass_went_through_them():
    # Depth 3 needs three frozen blocks, 6 s; depth 1 was computed with the head.
    table = [Trial(0, 0.7, 10.0, 3), Trial(1, 0.8, 20.0, 3), Trial(6, 0.9, 3.0, 3)]
    assert step(table, spent=7.7, frozen_block=2.0) == Trial(3)
    assert step(table, spent=7.9, frozen_block=2.0).no_time
    # Without a cache, depth 1 had to compute its five, too: 46.2 s and eight times those of a block.
    assert step(table, spent=0.0, frozen_block=1.7, cache="off") == Trial(3)
    assert step(table, spent=0.0, frozen_block=1.8, cache="off").no_time


def test_without_a_budget_three_depths_are_tried():
    assert depth_search.plan(trials(0.7, 0.8, seconds=1000.0), limits(), FREE) == Trial(5)
    skipped = depth_search.plan(trials(0.7, 0.8, 0.9, depths=(0, 1, 5)), limits(), FREE)
    assert skipped == Trial(3, no_time="without --time_budget no more than 0, 1, 5 are tried")


class Model:
    """A model that says at which depth it was trained last."""

    config = SimpleNamespace(num_hidden_layers=6)

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
        state = SimpleNamespace(model=model, splits=splits, strategy=strategy, checkpoints=tmp_path)

        def freeze(config, state, depth, *, only):
            done.cut.append((depth, list(only)))
            if depth in no_room:
                raise NoRoomError(f"no room for {depth}")
            return Trainable(f"layers {depth}", {})

        def fit(config, state, at, *, name, callbacks):
            assert model.trained == "pretrained"
            if config.depth == killed_at:
                raise KeyboardInterrupt
            model.trained = name
            done.trained.append(config.depth)
            return [{"val_accuracy": 0.7 + 0.03 * config.depth, "seconds": 10.0 * (config.depth + 1)}]

        monkeypatch.setattr(depth_search.setup, "freeze", freeze)
        monkeypatch.setattr(depth_search.fine_tuning, "fit", fit)
        features = {split: SimpleNamespace(seconds=features_seconds / 2) for split in ("train", "validation")}
        done.at, done.history, done.rows, done.skipped = depth_search.search(
            dataclasses.replace(CONFIG, **settings),
            state,
            Trainable("layers 0", features),
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
    assert (done.weights, done.at.model, done.history[0]["seconds"]) == ("depth-5", "layers 5", 60.0)
    training = ["train", "validation"]
    assert done.cut == [(1, training), (5, training), (5, ["validation", "test"])]
    assert list(done.skipped) == [3]


def test_the_head_needs_no_other_cut(searched):
    done = searched(accuracy_tolerance=90.0)
    assert done.trained == [0, 1]
    assert (done.weights, done.at.model) == ("depth-0", "layers 0")


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


def test_decisions_of_another_version_are_refused_in_one_line(searched, tmp_path):
    (tmp_path / depth_search.DECISIONS).write_text('{"spent": 1.0, "trunk": 1.0, "forward": 1.0, "steps": []}')
    with pytest.raises(UserError, match="unfinished depth search of another version.*delete this folder"):
        searched()
