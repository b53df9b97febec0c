import csv
import json
from pathlib import Path

import pytest

from tests.support.commands import succeeded, train_here
from tests.support.hub import sentences, tiny_model

pytestmark = pytest.mark.slow


def write(path: Path, texts, labels) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return path


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> tuple[Path, str]:
    """A profiled run whose validation rows repeat a training row, under the other label: (folder, log)."""
    folder = tmp_path_factory.mktemp("leaky")
    texts, labels = sentences(100, seed=1)
    others, other_labels = sentences(20, seed=2)
    settings = {
        "train_file": write(folder / "train.csv", texts, labels),
        "validation_file": write(folder / "dev.csv", [texts[0].upper(), *others], [1 - labels[0], *other_labels]),
        "model": tiny_model(folder / "model"),
        "cache_dir": folder / "cache",
        "output_dir": folder / "m",
        "run_name": "run",
        "max_length": 32,
        "epochs": 2,
        "learning_rate": 0.01,
        "head": "sgd",
        "profile_steps": "2,3",
        "calibrate": "off",
    }
    printed = succeeded(train_here(*(f"--{name}={value}" for name, value in settings.items())))
    return folder / "m" / "run", printed


def test_leaked_rows_are_said_and_accuracy_is_given_without_them(leaky):
    run, printed = leaky
    record = json.loads((run / "run.json").read_text())
    after = record["metrics"]["after"]
    assert record["leaks"]["leaked_rows"] == [0]
    assert "1 of 21 validation rows are in another split: 1 exact, 0 near, 0 contained" in printed
    # The leaked row's label is wrong, so that a model that learned its text gets it wrong.
    right = round(after["accuracy"] * 21)
    assert after["accuracy_without_leaks"] in (pytest.approx(right / 20), pytest.approx((right - 1) / 20))
    assert after["accuracy_without_leaks"] != after["accuracy"]


def test_accuracy_by_kind_of_text_is_recorded(leaky):
    after = json.loads((leaky[0] / "run.json").read_text())["metrics"]["after"]
    for kind in ("by_length", "by_truncation"):
        assert sum(row["examples"] for row in after[kind]) == 21
        right = sum(row["examples"] * row["accuracy"] for row in after[kind])
        assert right / 21 == pytest.approx(after["accuracy"])


def test_without_calibration_none_is_claimed(leaky):
    run, _ = leaky
    assert "calibration" not in json.loads((run / "run.json").read_text())
    for page in ("report.html", "hf/README.md"):
        assert "fitted on validation" not in (run / page).read_text(encoding="utf-8")


def test_profiled_steps_are_there_for_tensorboard(leaky):
    assert list((leaky[0] / "logs").glob("plugins/profile/*/*.xplane.pb"))
