"""The whole command, as a user runs it: what a finished run leaves behind."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import command, own_flags, record_of, refused, succeeded, train
from tests.support.hub import sentences

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


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory) -> tuple[Path, str]:
    """A finished run on own texts: (its folder, what it printed)."""
    output_dir = tmp_path_factory.mktemp("saved_models")
    return output_dir / "run", succeeded(train(*own_flags(own, output_dir)))


def test_offline_reviews_and_packaged_model(tmp_path):
    """The README's first command, on a sample of the rows."""
    flags = [
        "--flagfile=flags/offline.flags",
        "--limit=1500",
        "--exports=saved_model,hf",  # docs/quickstart.ipynb, which another test runs, writes the LiteRT export
        f"--cache_dir={tmp_path}/c",
        f"--output_dir={tmp_path}/m",
    ]
    printed = succeeded(train(*flags))
    run = tmp_path / "m" / "rotten_tomatoes"
    assert {path.name for path in run.iterdir()} == ARTEFACTS - {"litert"}
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
    assert {path.name for path in run.iterdir()} == ARTEFACTS | {"suspicious_labels.csv"}  # of a head alone
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
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "gradient_norm"} <= rows[0].keys()
    record = record_of(finished[0])
    assert float(rows[-1]["val_loss"]) == pytest.approx(record["calibration"]["loss_before"], rel=1e-4)
    assert record["metrics"]["after"]["loss"] == pytest.approx(record["calibration"]["loss_after"], rel=1e-6)


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
