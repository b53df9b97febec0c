import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment_tf import cli
from sentiment_tf.config import TrainConfig, resolve
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.pipeline import cost_estimate, dry_run
from sentiment_tf.pipeline.cost_estimate import Pace
from tests.support.hub import tiny_model
from tests.test_train import refused, succeeded, train, write_csv


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict[str, str]:
    """Settings of a run on own texts with a model of two blocks, 32 wide."""
    folder = tmp_path_factory.mktemp("own")
    return {
        "train_file": str(write_csv(folder / "train.csv", 200, seed=1)),
        "validation_file": str(write_csv(folder / "validation.csv", 60, seed=2)),
        "model": str(tiny_model(folder / "model")),
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "saved_models"),
        "run_name": "run",
        "max_length": 12,
    }


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(cost_estimate, "TIMED_SECONDS", 0.1)


def tokens_of(*lengths: int) -> Tokens:
    ids = np.concatenate([np.full(length, length, np.uint16) for length in lengths])
    return Tokens(ids, np.cumsum([0, *lengths]), np.zeros(len(lengths), bool))


def value(printed: str, name: str) -> str:
    """Returns what stands beside a name in the report."""
    (line,) = [line for line in printed.splitlines() if line.startswith(name)]
    return line.removeprefix(name).strip()


def test_bars_are_as_long_as_their_counts():
    lines = dry_run.length_histogram(np.array([3, 4, 4, 16]), max_length=16).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["1–2", "0"],
        ["3–4", "3"],
        *([f"{low}–{low + 1}", "0"] for low in range(5, 15, 2)),
        ["15–16", "1"],
    ]
    assert [line.count("█") for line in lines[1:]] == [0, 40, 0, 0, 0, 0, 0, 13]


def test_all_that_the_data_says(own, quick):
    printed = dry_run.report(resolve(TrainConfig(**own)))
    assert "100 (50.0%)  100 (50.0%)  200 (100.0%)" in printed  # every text is longer than 12 tokens
    assert "30 (50.0%)" in value(printed, "validation")
    assert value(printed, "11–12").startswith("260 ")
    assert value(printed, "padding of the trunk") == "0.0% of its places"
    assert value(printed, "strategy").endswith("replicas: 1")
    assert "CPU:0" in value(printed, "devices")


@pytest.mark.parametrize("depth", ["0", "1", "2", "all"])
def test_what_each_depth_needs(own, quick, depth):
    printed = dry_run.report(resolve(TrainConfig(**own, trainable_layers=depth)))
    # Head: 32 × 32 + 32 and 2 × 32 + 2. Features: 32 numbers a text, or 32 halves for each of its 12 tokens.
    trained = {"0": 1_122, "1": 1_122 + 8_544, "2": 1_122 + 2 * 8_544}
    needed = {"0": "33.3 kB", "1": "199.7 kB", "2": "0 B", "all": "0 B"}
    if depth == "all":
        assert value(printed, "parameters").endswith(" 0 frozen")
    else:
        assert value(printed, "parameters").startswith(f"{trained[depth]:,} trainable, ")
    assert value(printed, "features to cache") == needed[depth]
    assert ("padding of the trunk" in printed) == (depth in "01")
    for step in ("features", "evaluate before", "train", "evaluate after", "export", "report"):
        assert f"\n{step} " in printed
    assert value(printed, "the run").startswith("about ")
    assert value(printed, "peak memory").endswith("B")


def test_auto_says_what_bounds_it(own, quick):
    printed = dry_run.report(resolve(TrainConfig(**own, trainable_layers="auto", time_budget=9.0)))
    assert "auto tries depths 0, 1, 2, and others that end within" in printed
    assert "--time_budget=9.0" in printed
    for depth in range(3):
        assert f"\ndepth {depth} " in printed
    assert value(printed, "features to cache") == "at least 233.0 kB"  # of both depths that have a trunk
    assert " to " in value(printed, "the run")


def test_stages_add_the_head_alone(own, quick):
    printed = dry_run.report(resolve(TrainConfig(**own, trainable_layers="1", stages=True)))
    assert "at most" in value(printed, "the run")


@pytest.mark.slow
def test_the_command_trains_nothing_and_writes_no_run(own, tmp_path):
    flags = [f"--{name}={value}" for name, value in own.items()]
    printed = succeeded(train(*flags, "--dry_run", "--verbosity=-1", f"--output_dir={tmp_path}/m"))
    assert printed.startswith("split ")  # and not with the log, which is of a lower level
    assert "\nthe run " in printed
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mistake_is_told_as_by_the_run(own):
    refused(
        train(*(f"--{name}={value}" for name, value in own.items()), "--dry_run", "--max_length=600"),
        "--max_length=600",
    )


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, logging.INFO),
        ({"quiet": True}, logging.WARNING),
        ({"verbosity": -1}, logging.WARNING),
        ({"verbosity": 1}, logging.DEBUG),
        ({"verbosity": 3}, logging.DEBUG),
        ({"verbosity": 1, "quiet": True}, logging.WARNING),
    ],
)
def test_verbosity_sets_the_level_of_the_log(settings, level, monkeypatch):
    logger = logging.getLogger("sentiment_tf")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    cli.log_to_stdout(**settings)
    assert logger.level == level


def test_sample_spans_all_lengths():
    tokens = tokens_of(9, 1, 5, 3, 7)
    assert cost_estimate._sample(tokens, 15).lengths.tolist() == [1, 5, 9]
    assert cost_estimate._sample(tokens, 15).ids.tolist() == [1] + 5 * [5] + 9 * [9]
    assert cost_estimate._sample(tokens, 1_000).lengths.tolist() == [1, 3, 5, 7, 9]
    assert cost_estimate._sample(tokens, 1).lengths.tolist() == [1]


def test_places_count_padding_and_filler():
    plan = np.array([[0, 1], [2, -1]])
    lengths, config = np.array([3, 5, 9]), TrainConfig(max_length=10)
    assert cost_estimate._places(lengths, plan, config) == [2 * 8, 2 * 10]  # up to a multiple of 4, up to 10
    static = dataclasses.replace(config, pad_to_max_length=True)
    assert cost_estimate._places(lengths, plan, static) == [2 * 10, 2 * 10]


def test_two_times_give_a_start_and_a_pace():
    assert cost_estimate._line([10, 30], [3.0, 5.0]) == (2.0, 0.1)
    assert cost_estimate._line([10, 30], [1.0, 5.0]) == (0.0, 0.2)
    assert cost_estimate._line([10, 10], [3.0, 2.0]) == (0.0, 0.2)


def test_pace_between_depths():
    one, three = Pace(1, 2, 3, 4, 5, 6), Pace(3, 0, 5, 8, 7, 10)
    paces = {0: Pace(9, 9, 9, 9, 9, 9), 1: one, 3: three}
    assert cost_estimate.between(paces, 0) == paces[0]
    assert cost_estimate.between(paces, 2) == Pace(2, 1, 4, 6, 6, 8)


def test_estimate_adds_up(tiny_classifier):
    prepared = SimpleNamespace(
        model=tiny_classifier,
        tokens={"train": tokens_of(4, 4, 4), "validation": tokens_of(8), "test": tokens_of(8, 8)},
        splits=SimpleNamespace(report_split="test"),
        compute_dtype=None,
    )
    config = TrainConfig(dataset="sst2", epochs=2, batch_size=2, max_length=8, cache="off")
    pace = Pace(
        trunk_once=1.0,
        trunk_place=0.1,
        evaluation_once=2.0,
        evaluation_place=0.01,
        training_once=3.0,
        training_place=0.5,
    )
    missing = cost_estimate.missing_features(config, prepared, 1)
    seconds = cost_estimate.estimate(config, prepared, pace, 1, missing=missing, start=1.0)
    assert seconds["features"] == pytest.approx(3 * 1.0 + (3 * 4 + 8 + 2 * 8) * 0.1)
    # The evaluation's batches are of EVALUATION_BATCH = 64 places in height, filled or not.
    one_pass = 64 * 8 * 0.01
    assert seconds["evaluate_before"] == pytest.approx(2.0 + 2 * one_pass)
    assert seconds["evaluate_after"] == pytest.approx(2 * one_pass)
    assert seconds["train"] == pytest.approx(3.0 + 2 * (2 * 2 * 4 * 0.5 + one_pass))
