"""The whole command, as a user runs it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.hub import DISTILBERT, IMDB, SST2, HubServer, sentences, tiny_model

pytestmark = pytest.mark.slow

ARTEFACTS = {
    "1",
    "hf",
    "litert",
    "MANIFEST",
    "logs",
    "history.png",
    "comparison.png",
    "report.html",
    "history.csv",
    "run.json",
    "run.flags",
}


def command(module: str, *arguments, environment=None) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", f"sentiment_tf.{module}", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, env=os.environ | (environment or {}), timeout=600)


def train(*arguments, environment=None) -> subprocess.CompletedProcess:
    return command("train", *arguments, environment=environment)


def succeeded(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def write_csv(path: Path, count: int, *, seed: int, label=str) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([text, label(number)] for text, number in zip(*sentences(count, seed=seed), strict=True))
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict[str, Path]:
    """A tiny model and own texts: {model, train, validation, cache}."""
    folder = tmp_path_factory.mktemp("own")
    return {
        "model": tiny_model(folder / "model"),
        "train": write_csv(folder / "train.csv", 200, seed=1),
        "validation": write_csv(folder / "validation.csv", 60, seed=2),
        "cache": folder / "cache",
    }


def own_flags(own, output_dir, **changed) -> list[str]:
    settings = {
        "train_file": own["train"],
        "validation_file": own["validation"],
        "model": own["model"],
        "cache_dir": own["cache"],
        "output_dir": output_dir,
        "run_name": "run",
        "max_length": 32,
        "learning_rate": 0.01,
        **changed,
    }
    return [f"--{name}={value}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory) -> tuple[Path, str]:
    """A finished run on own texts: (its folder, what it printed)."""
    output_dir = tmp_path_factory.mktemp("saved_models")
    return output_dir / "run", succeeded(train(*own_flags(own, output_dir)))


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_offline_reviews_and_packaged_model(tmp_path):
    """The README's first command, on a sample of the rows."""
    flags = [
        "--flagfile=flags/offline.flags",
        "--limit=1500",
        f"--cache_dir={tmp_path}/c",
        f"--output_dir={tmp_path}/m",
    ]
    printed = succeeded(train(*flags))
    run = tmp_path / "m" / "rotten_tomatoes"
    assert {path.name for path in run.iterdir()} == ARTEFACTS
    metrics = record_of(run)["metrics"]
    assert 0.4 < metrics["before"]["accuracy"] < 0.6
    assert metrics["after"]["accuracy"] > 0.65
    assert metrics["before"]["examples"] == metrics["after"]["examples"] == 853
    assert f"{metrics['after']['accuracy']:.1%}".replace("%", " %") in printed
    answered = command("predict", f"--model={run}", "--format=json", "a moving and funny film", "dull and lifeless")
    labels = [json.loads(line)["label"] for line in succeeded(answered).splitlines()]
    assert labels == ["POSITIVE", "NEGATIVE"]


def test_leaves_a_complete_folder_and_nothing_else(finished):
    run, _ = finished
    assert {path.name for path in run.parent.iterdir()} == {"run"}
    assert {path.name for path in run.iterdir()} == ARTEFACTS
    assert {"saved_model.pb", "variables"} <= {path.name for path in (run / "1").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        p.name for p in (run / "hf").iterdir()
    }
    for picture in ("history.png", "comparison.png"):
        assert (run / picture).read_bytes().startswith(b"\x89PNG")


def test_record_holds_what_others_rely_on(finished, own):
    record = record_of(finished[0])
    assert {"config", "metrics", "times", "versions"} <= record.keys()
    assert (
        record["config"] | {"epochs": 3, "batch_size": 32, "trainable_layers": "0", "max_length": 32}
        == record["config"]
    )
    assert (record["flags"]["text_column"], record["config"]["text_column"]) == (None, "text")
    for moment in ("before", "after"):
        assert record["metrics"][moment].keys() >= {"loss", "accuracy", "examples"}
    assert record["metrics"]["after"]["examples"] == 60
    assert record["metrics"]["after"]["accuracy"] > record["metrics"]["before"]["accuracy"]
    assert record["times"].keys() >= {"data", "tokens", "model", "features", "evaluate_before", "train", "export"}
    assert record["versions"].keys() >= {"tensorflow", "transformers", "tf-keras", "datasets"}
    assert len(record["data"]["source"]["fingerprint"]["train"]) == 64


def test_history_has_a_line_per_epoch(finished):
    with open(finished[0] / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= rows[0].keys()
    assert float(rows[-1]["val_loss"]) == pytest.approx(record_of(finished[0])["metrics"]["after"]["loss"], rel=1e-6)


def test_each_step_is_said_and_the_end_says_what_next(finished):
    run, printed = finished
    for step in ("data", "tokens", "model", "features", "evaluate before", "train", "evaluate after", "export"):
        assert any(line.startswith(step) for line in printed.splitlines()), step
    assert f"tensorboard --logdir {run / 'logs'}" in printed
    assert f"python -m sentiment_tf.predict --model={run}" in printed


def test_hugging_face_folder_answers_as_the_saved_model(finished):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the tokenizer's operations
    from transformers import DistilBertTokenizerFast, TFDistilBertForSequenceClassification

    from sentiment_tf.inference.engines import tensorflow as saved_model

    run, texts = finished[0], sentences(20, seed=3)[0]
    model = TFDistilBertForSequenceClassification.from_pretrained(run / "hf")
    tokens = DistilBertTokenizerFast.from_pretrained(run / "hf")(texts, padding=True, return_tensors="tf")
    theirs = model(**tokens).logits
    exported = tf.saved_model.load(str(run / "1")).signatures["tokens"](
        **{name: tf.cast(tokens[name], tf.int32) for name in ("input_ids", "attention_mask")}
    )
    np.testing.assert_allclose(exported["logits"], theirs, atol=1e-5)
    labels, _ = saved_model.load(run).predict(texts)
    assert list(labels) == [model.config.id2label[number] for number in np.argmax(theirs, axis=1)]


def test_hugging_face_folder_works_in_a_pipeline(finished):
    from transformers import pipeline

    from sentiment_tf.inference.engines import tensorflow as saved_model

    classify = pipeline("text-classification", str(finished[0] / "hf"), framework="tf", torch_dtype=None)
    texts, _ = sentences(20, seed=3)
    labels, _ = saved_model.load(finished[0]).predict(texts)
    assert [answer["label"] for answer in classify(texts)] == list(labels)


def test_same_command_again_says_it_is_finished(finished, own):
    run, _ = finished
    before = (run / "run.json").read_bytes()
    assert "is finished" in succeeded(train(*own_flags(own, run.parent)))
    in_use = {name: record_of(run)["config"][name] for name in ("precision", "strategy")}
    assert "auto" not in in_use.values()
    assert record_of(run)["flags"]["precision"] == record_of(run)["flags"]["strategy"] == "auto"
    assert "is finished" in succeeded(train(*own_flags(own, run.parent, **in_use)))
    assert (run / "run.json").read_bytes() == before


def test_other_settings_are_refused_by_name_and_leave_the_run_alone(finished, own):
    run, _ = finished
    before = (run / "run.json").read_bytes()
    refused(train(*own_flags(own, run.parent, epochs=5, seed=1)), "--epochs", "--seed", "--overwrite")
    assert (run / "run.json").read_bytes() == before


def test_overwrite_swaps_in_the_next_version_and_a_second_seed_run_repeats_its_history(own, tmp_path):
    succeeded(train(*own_flags(own, tmp_path, trainable_layers="all", epochs=2)))
    history = (tmp_path / "run" / "history.csv").read_bytes()
    succeeded(train(*own_flags(own, tmp_path, trainable_layers="all", epochs=2), "--overwrite"))
    assert (tmp_path / "run" / "history.csv").read_bytes() == history
    assert (tmp_path / "run" / "2" / "saved_model.pb").exists()
    assert not (tmp_path / "run" / "1").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_depth_search_keeps_the_cheapest_depth_within_the_tolerance(own, tmp_path):
    printed = succeeded(
        train(*own_flags(own, tmp_path, trainable_layers="auto", epochs=1, accuracy_tolerance=2, time_budget=9))
    )
    record = record_of(tmp_path / "run")
    best = max(row["accuracy"] for row in record["depths"])
    chosen = [row for row in record["depths"] if row.get("chosen")]
    assert len(chosen) == 1
    assert chosen[0] == next(row for row in record["depths"] if row["accuracy"] >= best - 0.02 - 1e-9)
    assert record["metrics"]["after"]["accuracy"] == pytest.approx(chosen[0]["accuracy"])
    assert record["flags"]["trainable_layers"] == "auto"
    assert record["config"]["trainable_layers"] == str(chosen[0]["trainable_layers"])
    assert "blocks trained" in printed
    assert (tmp_path / "run" / "depths.png").read_bytes().startswith(b"\x89PNG")


def test_every_way_of_training_at_once(own, tmp_path):
    settings = {"trainable_layers": 1, "epochs": 3, "early_stopping_patience": 1, "class_weight": "balanced"}
    settings |= {"layer_decay": 0.9, "label_smoothing": 0.1, "schedule": "cosine", "weight_decay": 0.1}
    printed = succeeded(train(*own_flags(own, tmp_path, **settings), "--stages", "--calibrate=off"))
    assert "head first" in printed
    record = record_of(tmp_path / "run")
    assert record["metrics"]["after"]["accuracy"] > 0.8
    assert 1 < len(record["history"]) <= 3
    assert (tmp_path / "run" / "logs" / "head" / "train").is_dir()


def test_three_classes_by_name(own, tmp_path):
    names = ["bad", "good", "so-so"]
    rows = [[text, names[number % 3]] for number, text in enumerate(sentences(240, seed=4)[0])]
    with open(tmp_path / "three.csv", "w", newline="") as file:
        csv.writer(file).writerows([["review", "stars"], *rows])
    flags = [
        f"--train_file={tmp_path}/three.csv",
        "--text_column=review",
        "--label_column=stars",
        f"--model={own['model']}",
    ]
    succeeded(
        train(*flags, f"--cache_dir={own['cache']}", f"--output_dir={tmp_path}/m", "--epochs=1", "--strategy=default")
    )
    record = record_of(tmp_path / "m" / "three")
    assert record["label_names"] == names
    assert np.array(record["metrics"]["after"]["confusion"]).shape == (3, 3)
    assert record["data"]["rows"] == {"train": 216, "validation": 24}


def test_texts_without_words_and_very_long_ones_are_no_mistake(own, tmp_path):
    texts, labels = sentences(60, seed=5)
    texts[0], texts[1], texts[2] = "", "   ", "word " * 50_000
    with open(tmp_path / "odd.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(texts, labels, strict=True)])
    flags = own_flags(own, tmp_path / "m", train_file=tmp_path / "odd.csv", epochs=1, cache="off")
    printed = succeeded(train(*flags))
    assert "2 of 60 texts are empty" in printed
    assert "1 of 60 texts cut at 32 tokens" in printed


@pytest.mark.parametrize("dataset", ["sst2", "imdb"])
def test_hub_and_its_filled_cache(tmp_path, dataset):
    """The very command of the README, against a hub on loopback; then from what it fetched."""
    flags = [f"--dataset={dataset}", f"--cache_dir={tmp_path}/c", "--max_length=32", "--epochs=1"]
    with HubServer() as hub:
        succeeded(train(*flags, f"--output_dir={tmp_path}/a", environment=hub.environment(tmp_path / "home")))
        record = record_of(tmp_path / "a" / dataset)
        assert record["config"]["model"] == DISTILBERT
        assert record["model_revision"] == record["config"]["model_revision"] == hub.commits[DISTILBERT]
        assert record["data"]["source"]["revision"] == hub.commits[{"sst2": SST2, "imdb": IMDB}[dataset]]
        environment = hub.environment(tmp_path / "home", offline=True)
    succeeded(train(*flags, f"--output_dir={tmp_path}/b", environment=environment))
    again = record_of(tmp_path / "b" / dataset)
    assert again["metrics"] == record["metrics"]
    assert again["model_revision"] == record["model_revision"]


def test_revisions_are_pinned_and_an_unknown_one_is_refused(tmp_path):
    flags = [
        "--dataset=sst2",
        f"--cache_dir={tmp_path}/c",
        f"--output_dir={tmp_path}/m",
        "--max_length=32",
        "--epochs=1",
    ]
    with HubServer() as hub:
        environment = hub.environment(tmp_path / "home")
        pinned = ["--model_revision=v1", "--dataset_revision=v1"]
        refused(train(*flags, "--model_revision=v9", environment=environment), "--model_revision=v9")
        refused(train(*flags, "--dataset_revision=v9", environment=environment), "--dataset_revision=v9")
        assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())
        succeeded(train(*flags, *pinned, environment=environment))
        assert record_of(tmp_path / "m" / "sst2")["model_revision"] == hub.commits[DISTILBERT]


def test_hub_out_of_reach_says_what_works_without(own, tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }
    flags = [f"--cache_dir={tmp_path}/c", f"--output_dir={tmp_path}/m"]
    refused(train("--dataset=sst2", *flags, environment=environment), "sst2", "--offline")
    here = [f"--train_file={own['train']}", "--model=distilbert/distilbert-base-uncased"]
    refused(train(*here, *flags, environment=environment), "distilbert-base-uncased", "minilm-l6")
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())


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
    refused(train(*own_flags(own, tmp_path / "m", **changed)), *words)
    assert not any(tmp_path.iterdir())


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
    refused(train(*own_flags(own, tmp_path / "m", model=model)), f"--model={model}")
    assert not (tmp_path / "m").exists()


def test_overwrite_starts_afresh_where_the_data_of_a_killed_run_has_changed(tmp_path):
    from tests.support import faults

    flags = [*faults.prepare(tmp_path), *faults.places(tmp_path)]
    killed = faults.train_and_kill_at("checkpoint", [*flags, "--overwrite"], count=3)
    assert killed.returncode == -9, killed.stdout + killed.stderr
    write_csv(tmp_path / "train.csv", 200, seed=7)
    refused(train(*flags), "changed since this unfinished run began: the train rows", "--overwrite")
    assert "it starts afresh" in succeeded(train(*flags, "--overwrite"))


def test_an_output_folder_that_holds_something_else_is_left_alone(own, tmp_path):
    thesis = tmp_path / "run" / "checkpoints" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    refused(train(*own_flags(own, tmp_path), "--overwrite"), str(tmp_path / "run"))
    assert thesis.read_text() == "years of work"
    (tmp_path / "file").write_text("more of it")
    refused(train(*own_flags(own, tmp_path, run_name="file")), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "more of it"


def test_a_mistake_leaves_no_folder_on_the_way_to_the_run(own, tmp_path):
    flags = own_flags(own, tmp_path / "a" / "b", text_column="absent")
    refused(train(*flags), "--text_column=absent")
    assert not any(tmp_path.iterdir())


def test_an_output_folder_that_cannot_be_written(own, tmp_path):
    (tmp_path / "file").write_text("")
    refused(train(*own_flags(own, tmp_path / "file")), "--output_dir")


def test_frozen_features_are_found_again_and_a_damaged_cache_is_rebuilt(own, tmp_path):
    flags = own_flags(own, tmp_path / "m", cache_dir=tmp_path / "c", epochs=1)
    assert "found in the cache" not in succeeded(train(*flags))
    assert "found in the cache" in succeeded(train(*flags, "--overwrite", "--learning_rate=0.02"))
    for values in (tmp_path / "c" / "features").glob("*/values"):
        values.write_bytes(values.read_bytes()[:-1] + b"!")
    assert "damaged" in succeeded(train(*flags, "--overwrite"))


def test_quiet_prints_nothing(own, tmp_path):
    assert succeeded(train(*own_flags(own, tmp_path, epochs=1), "--quiet")) == ""
