"""Mistakes that end a training in one line, and what they leave alone."""

import json

import pytest

import sentiment_tf as st
from tests.support import faults
from tests.support.commands import own_flags, own_settings, quick_train, refused, succeeded, train, write_csv
from tests.support.hub import tiny_model


def refused_here(settings: dict, *words: str) -> None:
    """Trains in this process, which is to end in one problem with these words."""
    with pytest.raises(st.UserError) as caught:
        st.train(st.TrainConfig(**settings))
    (problem,) = caught.value.problems
    for word in words:
        assert word in problem


@pytest.mark.slow
def test_a_mistake_that_the_data_shows_is_one_line_of_the_command(own, tmp_path):
    refused(train(*own_flags(own, tmp_path / "m", text_column="words")), "--text_column=words")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_length": 600}, ["--max_length=600"]),
        ({"trainable_layers": "9"}, ["--trainable_layers=9", "2 blocks"]),
        ({"model": "/nowhere/model"}, ["--model=/nowhere/model", "no such folder"]),
        ({"text_column": "words"}, ["words"]),
    ],
)
def test_mistakes_that_only_data_or_model_show_leave_nothing(own, tmp_path, changed, words):
    refused_here(own_settings(own, tmp_path / "m", **changed), *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_mistakes_are_told_together(own, tmp_path):
    done = train("--train_file=/nowhere.csv", "--epochs=0", "--stages", f"--output_dir={tmp_path}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3, done.stderr
    done = train("--epochs=x", "--batch_sise=3", "--nooffline=true", f"--output_dir={tmp_path}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3, done.stderr
    assert not any(tmp_path.iterdir())


CHANGED_CONFIG = {"foreign": {"model_type": "bert"}, "more blocks than weights": {"n_layers": 3}, "other": {"dim": 48}}


@pytest.mark.parametrize(
    "damage", [*CHANGED_CONFIG, "cut", "no weights", "pickle", "no tokenizer", "another's tokenizer", "no separator"]
)
def test_a_foreign_or_damaged_checkpoint_is_refused(own, tmp_path, damage):
    model = tiny_model(tmp_path / "model")
    weights = model / "model.safetensors"
    if damage in CHANGED_CONFIG:
        config = json.loads((model / "config.json").read_text()) | CHANGED_CONFIG[damage]
        (model / "config.json").write_text(json.dumps(config))
    elif "tokenizer" in damage or damage == "no separator":
        words = (model / "vocab.txt").read_text().splitlines() if (model / "vocab.txt").exists() else []
        for path in model.glob("*token*"):
            path.unlink()
        if damage == "no tokenizer":
            (model / "vocab.txt").unlink(missing_ok=True)
        elif damage == "no separator":
            (model / "vocab.txt").write_text("\n".join(word for word in words if word != "[SEP]"))
        else:
            (model / "vocab.txt").write_text("\n".join([*words, *(f"word{number}" for number in range(5000))]))
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-500])
    else:
        weights.unlink()
        if damage == "pickle":
            (model / "pytorch_model.bin").write_bytes(b"not read")
    refused_here(own_settings(own, tmp_path / "m", model=str(model)), f"--model={model}")
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_overwrite_starts_afresh_where_the_data_of_a_killed_run_has_changed(tmp_path):
    flags = [*faults.prepare(tmp_path), *faults.places(tmp_path), "--exports=hf"]
    killed = faults.train_and_kill_at("checkpoint", [*flags, "--overwrite"], count=3)
    assert killed.returncode == -9, killed.stdout + killed.stderr
    write_csv(tmp_path / "train.csv", 200, seed=7)
    refused(train(*flags), "changed since this unfinished run began: the train rows", "--overwrite")
    assert "starting again" in succeeded(quick_train(*flags, "--overwrite"))


def test_an_output_folder_that_holds_something_else_is_left_alone(own, tmp_path):
    thesis = tmp_path / "run" / "checkpoints" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    refused_here(own_settings(own, tmp_path, overwrite=True), str(tmp_path / "run"))
    assert thesis.read_text() == "years of work"
    (tmp_path / "file").write_text("more of it")
    refused_here(own_settings(own, tmp_path, run_name="file"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "more of it"


def test_a_mistake_leaves_no_folder_on_the_way_to_the_run(own, tmp_path):
    refused_here(own_settings(own, tmp_path / "a" / "b", text_column="absent"), "--text_column=absent")
    assert not any(tmp_path.iterdir())


def test_an_output_folder_that_cannot_be_written(own, tmp_path):
    (tmp_path / "file").write_text("")
    refused_here(own_settings(own, tmp_path / "file"), "--output_dir")
