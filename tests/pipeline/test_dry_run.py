import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from sentiment_tf import cli
from sentiment_tf.config import TrainConfig
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.modeling.features import Features
from sentiment_tf.pipeline import cost_estimate, dry_run, launch
from sentiment_tf.pipeline.setup import RunState
from tests.support.commands import refused, succeeded, train_here, write_csv
from tests.support.hub import tiny_model


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
    printed = launch.dry_run(TrainConfig(**own))
    assert "100 (50.0%)  100 (50.0%)  200 (100.0%)" in printed  # every text is longer than 12 tokens
    assert "30 (50.0%)" in value(printed, "validation")
    assert value(printed, "11–12").startswith("260 ")
    assert value(printed, "padding in frozen layers") == "0.0% of the token slots"
    assert value(printed, "strategy").endswith("replicas: 1")
    assert "CPU:0" in value(printed, "devices")


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["0", "1", "2", "all"])
def test_what_each_depth_needs(own, quick, depth):
    printed = launch.dry_run(TrainConfig(**own, trainable_layers=depth))
    # Head: 32 × 32 + 32 and 2 × 32 + 2. Features: 32 numbers a text, or 32 halves for each of its 12 tokens.
    trained = {"0": 1_122, "1": 1_122 + 8_544, "2": 1_122 + 2 * 8_544}
    needed = {"0": "33.3 kB", "1": "199.7 kB", "2": "0 B", "all": "0 B"}
    if depth == "all":
        assert value(printed, "parameters").endswith(" 0 frozen")
    else:
        assert value(printed, "parameters").startswith(f"{trained[depth]:,} trainable, ")
    assert value(printed, "features to cache") == needed[depth]
    assert ("padding in frozen layers" in printed) == (depth in "01")
    for step in ("features", "evaluate before", "train", "evaluate after", "export", "report"):
        assert f"\n{step} " in printed
    assert value(printed, "the run").startswith("about ")
    assert value(printed, "peak memory").endswith("B")


@pytest.mark.slow
def test_auto_says_what_bounds_it(own, quick):
    printed = launch.dry_run(TrainConfig(**own, trainable_layers="auto", time_budget=9.0))
    for depth in range(3):
        assert f"\ntrain at depth {depth} " in printed
    assert value(printed, "features to cache") == "at least 233.0 kB"  # of both depths that have frozen blocks
    assert "--time_budget=9 at most 9 min" in value(printed, "the run")


@pytest.mark.slow
def test_stages_add_the_head_alone(own, quick):
    printed = launch.dry_run(TrainConfig(**own, trainable_layers="1", stages=True))
    assert "at most" in value(printed, "the run")


@pytest.mark.slow
def test_the_command_trains_nothing_and_writes_no_run(own, tmp_path):
    flags = [f"--{name}={value}" for name, value in own.items()]
    printed = succeeded(train_here(*flags, "--dry_run", "--verbosity=-1", f"--output_dir={tmp_path}/m"))
    assert printed.startswith("split ")  # and not with the log, which is of a lower level
    assert "\nthe run " in printed
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mistake_is_told_as_by_the_run(own):
    refused(
        train_here(*(f"--{name}={value}" for name, value in own.items()), "--dry_run", "--max_length=600"),
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
    assert cost_estimate.sample(tokens, 15).lengths.tolist() == [1, 5, 9]
    assert cost_estimate.sample(tokens, 15).ids.tolist() == [1] + 5 * [5] + 9 * [9]
    assert cost_estimate.sample(tokens, 1_000).lengths.tolist() == [1, 3, 5, 7, 9]
    assert cost_estimate.sample(tokens, 1).lengths.tolist() == [1]


def test_token_slots_count_padding():
    plan = np.array([[0, 1], [2, -1]])
    tokens = tokens_of(3, 5, 9)
    inputs = Features(tokens.ids, tokens.offsets, 10)
    assert cost_estimate.token_slots(inputs, plan) == [2 * 8, 10]  # widths up to a multiple of 4, 10 at most
    static = dataclasses.replace(inputs, least=10)
    assert cost_estimate.token_slots(static, plan) == [2 * 10, 10]


def test_estimate_adds_up(tiny_classifier, monkeypatch):
    state = SimpleNamespace(
        model=tiny_classifier,
        tokens={"train": tokens_of(4, 4, 4), "validation": tokens_of(8), "test": tokens_of(8, 8)},
        splits=SimpleNamespace(report_split="test"),
        frozen_dtype_of=lambda split: tf.float32,
    )
    config = TrainConfig(dataset="sst2", epochs=2, batch_size=2, max_length=8)
    monkeypatch.setattr(cost_estimate, "time_features", lambda *_: (1.0, 0.1))
    monkeypatch.setattr(cost_estimate, "time_training", lambda *_: (3.0, 0.3))
    seconds = cost_estimate.estimate(config, state, 1, start=10.0)
    assert seconds["features"] == pytest.approx(3 * 1.0 + (3 * 4 + 8 + 2 * 8) * 0.1)
    # A forward pass takes a third of a training step's 0.3 s a slot.
    assert seconds["evaluate_before"] == seconds["evaluate_after"] == pytest.approx(3 * 8 * 0.1)
    assert seconds["train"] == pytest.approx(3.0 + 2 * (3 * 4 * 0.3 + 8 * 0.1))
    # A text that the export answers: 8 slots of evaluation, and 4 of the frozen layers.
    assert seconds["export"] == pytest.approx(6 * 10.0 + 1_000 * (8 * 0.1 + 4 * 0.1))
    assert seconds["report"] == 10.0


def test_the_first_step_and_the_time_per_slot_are_told_apart(monkeypatch):
    """10 s until the first of steps of 8, 8 and 16 slots ends, then 2 and 4 s: 0.25 s a slot and 8 s once."""
    times = iter([0.0, 10.0, 12.0, 16.0])
    monkeypatch.setattr(cost_estimate.time, "perf_counter", lambda: next(times))
    layers = SimpleNamespace(optimizer=SimpleNamespace(iterations=None))
    monkeypatch.setattr(cost_estimate.setup, "make_trainable", lambda *_: layers)

    def fit(config, state, at, *, callbacks):
        for step in range(1, 4):
            at.model.optimizer.iterations = SimpleNamespace(numpy=lambda step=step: step)
            callbacks[0].on_train_batch_end(step - 1, {})

    monkeypatch.setattr(cost_estimate.fine_tuning, "fit", fit)
    monkeypatch.setattr(cost_estimate, "token_slots", lambda *_: [8, 8, 16])
    tokens = {"train": tokens_of(4, 4, 4, 4, 4, 4), "validation": tokens_of(4)}
    state = RunState(*[None] * 9, checkpoints=None)
    state = dataclasses.replace(state, tokens=tokens, labels={"train": np.zeros(6), "validation": np.zeros(1)})
    inputs = {"train": Features(tokens["train"].ids, tokens["train"].offsets, 8)}
    config = TrainConfig(dataset="sst2", batch_size=2, max_length=8, trainable_layers="all")
    assert cost_estimate.time_training(config, state, "all", inputs) == (8.0, 0.25)
