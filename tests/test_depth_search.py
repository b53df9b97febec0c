import dataclasses

import pytest

from sentiment_tf import depth_search
from sentiment_tf.config import TrainConfig

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


def test_goes_on_while_depth_pays():
    assert depth_search._reason_to_stop(CONFIG, rows(0.7, 0.701, 0.72), 1.0) is None
    assert depth_search._reason_to_stop(CONFIG, rows(0.7, 0.701), 1.0) is None


def test_stops_when_two_steps_in_a_row_gained_too_little_and_says_so():
    assert "--accuracy_tolerance=0.5" in depth_search._reason_to_stop(CONFIG, rows(0.7, 0.8, 0.804, 0.803), 1.0)


def test_skips_a_depth_that_would_pass_the_budget_and_says_so():
    config = dataclasses.replace(CONFIG, time_budget=1.0)
    # 30 s are gone; the next depth takes the last one's 20 s and what it grew by, 10 s: a minute.
    assert depth_search._reason_to_stop(config, rows(0.7, 0.8), 30.0) is None
    assert "--time_budget=1.0" in depth_search._reason_to_stop(config, rows(0.7, 0.8), 31.0)
