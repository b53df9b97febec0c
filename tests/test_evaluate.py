"""The command as a user meets it, on a tiny export; the metrics themselves are tested in tests/reporting."""

import csv
import json
import logging

import numpy as np
import pytest
from absl import flags

from sentiment_tf import UserError
from sentiment_tf.inference.engines import tensorflow as saved_model
from tests.support import tiny_export
from tests.support.commands import command, flags_of, refused, succeeded

TEXTS = tiny_export.texts(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny run, another one with other weights, and a file whose labels are mostly what the first answers."""
    folder = tmp_path_factory.mktemp("evaluate")
    tiny_export.export(folder / "a" / "1")
    tiny_export.export(folder / "b" / "1", weights=tiny_export.weights(seed=8))
    labels, _ = saved_model.load(folder / "a").predict(TEXTS)
    labels[:6] = ["NEUTRAL" if label != "NEUTRAL" else "POSITIVE" for label in labels[:6]]
    with open(folder / "test.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(TEXTS, labels, strict=True)])
    return folder


def evaluate(folder, *arguments) -> int:
    """Runs the command in this process."""
    with flags_of("evaluate") as module:
        return module.main(flags.FLAGS(["evaluate", f"--test_file={folder}/test.csv", *arguments])[1:])


@pytest.mark.slow
def test_the_command(folder, tmp_path):
    printed = succeeded(command("evaluate", f"--test_file={folder}/test.csv", f"--model={folder}/a"))
    assert "90.0 %" in printed  # 54 of 60
    refused(command("evaluate", f"--test_file={folder}/test.csv", f"--model={tmp_path}/none"), "no such folder")


@pytest.fixture
def log(monkeypatch):
    """Restores the log, which the command directs to stdout."""
    logger = logging.getLogger("sentiment_tf")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))


@pytest.mark.slow
def test_prints_and_writes_what_the_labels_say(folder, tmp_path, capsys, log):
    assert evaluate(folder, f"--model={folder}/a", f"--compare={folder}/b", f"--output={tmp_path}/metrics.json") == 0
    printed = capsys.readouterr().out
    assert "Accuracy" in printed
    assert "90.0 %" in printed  # 54 of 60
    assert "true \\ predicted" in printed
    content = json.loads((tmp_path / "metrics.json").read_text())
    first = content["models"][f"{folder}/a"]
    assert first["accuracy"] == pytest.approx(54 / 60)
    assert {"loss", "macro_f1", "mcc", "roc_auc"} <= set(first)
    assert np.trace(first["confusion"]) == 54
    comparison = content["comparison"]
    assert comparison["p_value"] < 0.05
    assert f"a difference in accuracy of {100 * comparison['accuracy_difference']:+.1f} points (95 % " in printed
    assert (tmp_path / "metrics.png").read_bytes().startswith(b"\x89PNG")


def test_texts_of_one_class_get_a_note(folder, tmp_path, capsys, log):
    (tmp_path / "one.csv").write_text("text,label\ngood film,POSITIVE\nbad film,positive\n")
    assert evaluate(folder, f"--model={folder}/a", f"--test_file={tmp_path}/one.csv") == 0
    assert capsys.readouterr().out.startswith("test: every row has the label POSITIVE; ROC-AUC and the like are undefi")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--model={tmp}/none"], ["--model={tmp}/none", "no such folder"]),
        (["--model={a}", "--output={tmp}/old.json"], ["{tmp}/old.json: exists"]),
        (["--model={a}", "--output={tmp}/picture.json"], ["{tmp}/picture.png: exists"]),
        (["--model={a}", "--output={tmp}/new.png"], ["--output={tmp}/new.png", ".json"]),
        (["--model={a}", "--output={tmp}/none/new.json"], ["its folder does not exist"]),
        (["--model={a}", "--text_column=words"], ["--text_column=words"]),
        # The data's settings are checked first: the missing model is not reported yet.
        (["--model={tmp}/none", "--data_dir={tmp}"], ["--data_dir={tmp}: pass it or --test_file, not both"]),
    ],
)
def test_mistakes_are_one_problem_and_lose_nothing(folder, tmp_path, log, given, words):
    for name in ("old.json", "picture.png"):
        (tmp_path / name).write_text("mine")
    names = {"tmp": tmp_path, "a": folder / "a"}
    with pytest.raises(UserError) as caught:
        evaluate(folder, *(flag.format(**names) for flag in given))
    (problem,) = caught.value.problems
    for word in words:
        assert word.format(**names) in problem
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.json": "mine", "picture.png": "mine"}


def test_a_home_folder_is_the_users(folder, log, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert evaluate(folder, "--model=~/a", "--compare=~/b", "--output=~/home.json") == 0
    assert json.loads((folder / "home.json").read_text())["models"].keys() == {f"{folder}/a", f"{folder}/b"}
