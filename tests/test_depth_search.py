import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from sentiment_tf import depth_search
from sentiment_tf.config import TrainConfig
from sentiment_tf.preparation import Cut

CONFIG = TrainConfig(dataset="sst2", trainable_layers="auto", accuracy_tolerance=0.5)


def rows(*accuracies, seconds=10.0):
    return [
        {"trainable_layers": depth, "accuracy": accuracy, "training_seconds": seconds * (depth + 1)}
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
        ({"d0": 0.7, "d1": 0.8}, 4),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85}, 6),  # thirteen would be too deep
        ({"d0": 0.7, "d1": 0.8, "d4": 0.803}, None),  # depth 1 is as good, and nothing lies between it and the head
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d6": 0.853}, 2),
        ({"d0": 0.7, "d1": 0.8, "d2": 0.82, "d4": 0.85, "d6": 0.853}, 3),
        ({"d0": 0.7, "d1": 0.8, "d2": 0.82, "d3": 0.84, "d4": 0.85, "d6": 0.853}, None),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d6": 0.9}, 5),
        ({"d0": 0.7, "d1": 0.8, "d4": 0.85, "d5": 0.9, "d6": 0.9}, None),
        ({"d0": 0.7, "d1": 0.701}, None),
    ],
)
def test_depth_grows_while_it_pays_then_the_gap_is_halved(so_far, following):
    assert depth_search.next_depth(tried(**so_far), 6, tolerance=0.005) == following


def test_skips_a_depth_that_would_pass_the_budget_and_says_so():
    config = dataclasses.replace(CONFIG, time_budget=1.0)
    # 30 s are gone; the next depth takes the last one's 20 s and what it grew by, 10 s: a minute.
    assert depth_search.over_budget(config, rows(0.7, 0.8), 2, 6, 30.0, forward=1.0) is None
    assert "--time_budget=1.0" in depth_search.over_budget(config, rows(0.7, 0.8), 2, 6, 31.0, forward=1.0)
    # Three epochs of forward and backward through a second block take 9 times its forward pass: 18 s, not 10.
    assert depth_search.over_budget(config, rows(0.7, 0.8), 2, 6, 22.0, forward=2.0) is None
    assert "--time_budget=1.0" in depth_search.over_budget(config, rows(0.7, 0.8), 2, 6, 23.0, forward=2.0)
    assert depth_search.over_budget(config, [], 0, 6, 100.0, forward=1.0) is None
    assert depth_search.over_budget(config, rows(0.7), 1, 6, 59.0, forward=1.0) is None
    assert "--time_budget=1.0" in depth_search.over_budget(config, rows(0.7), 1, 6, 60.0, forward=1.0)


def test_a_depth_between_two_known_ones_takes_a_time_between_theirs():
    known = [dict(row, trainable_layers=depth) for row, depth in zip(rows(0.7, 0.8, 0.9), (0, 1, 4), strict=True)]
    config = dataclasses.replace(CONFIG, time_budget=1.0)
    # 20 and 30 s at depths 1 and 4: 23.33 at depth 2, whatever a block takes beyond.
    assert depth_search.over_budget(config, known, 2, 6, 36.6, forward=5.0) is None
    assert depth_search.over_budget(config, known, 2, 6, 36.7, forward=5.0)


def test_searches_no_longer_than_everything_takes():
    three = rows(0.7, 0.8, 0.9)  # 10, 20 and 30 s: depth 3 takes 40, all six blocks 70
    assert depth_search.over_budget(CONFIG, three, 3, 6, 30.0, forward=1.0) is None
    assert "training everything" in depth_search.over_budget(CONFIG, three, 3, 6, 31.0, forward=1.0)
    assert depth_search.over_budget(CONFIG, three[:2], 3, 6, 1000.0, forward=1.0) is None


def test_a_killed_search_goes_on_as_it_had_decided(monkeypatch, tmp_path):
    """After a kill, features and finished depths take no time: the clock must not decide anew."""
    model = SimpleNamespace(config=SimpleNamespace(n_layers=6), get_weights=list, set_weights=lambda weights: None)
    prepared = SimpleNamespace(model=model, strategy=tf.distribute.get_strategy(), checkpoints=tmp_path)
    config = dataclasses.replace(CONFIG, time_budget=2.0)
    tried = []

    def train_depth(config, prepared, depth, callbacks):
        tried.append(depth)
        return None, [{"val_accuracy": 0.7 + 0.03 * depth, "seconds": 10.0 * (depth + 1)}], cutting

    def search(features_seconds):
        tried.clear()
        head = Cut(None, {"train": SimpleNamespace(seconds=features_seconds)})
        settings = {"features_seconds": features_seconds, "callbacks": None}
        _, _, rows = depth_search.search(config, prepared, head, **settings)
        return list(tried), rows

    monkeypatch.setattr(depth_search, "_train", train_depth)
    cutting = 30.0
    first = search(20.0)
    assert first[0] == [0, 1]
    cutting = 0.0
    assert search(0.0) == first
    (tmp_path / depth_search.DECISIONS).unlink()
    assert search(0.0)[0] == [0, 1, 4, 2]  # 6, 5 and 3 would end too late
