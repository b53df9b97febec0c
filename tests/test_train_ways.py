"""The whole command in its ways of training, on texts of several kinds."""

import csv

import numpy as np
import pytest
import sklearn.metrics

from sentiment_tf.data import loading
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.inference.engines import tensorflow as saved_model
from sentiment_tf.pipeline.evaluating import evaluate
from tests.support.commands import own_flags, record_of, succeeded, train_here
from tests.support.hub import sentences

pytestmark = pytest.mark.slow


def test_overwrite_swaps_in_the_next_version_and_a_second_seed_run_repeats_its_history(own, tmp_path):
    flags = own_flags(own, tmp_path, trainable_layers=1, epochs=2, exports="saved_model")
    succeeded(train_here(*flags))
    history = (tmp_path / "run" / "history.csv").read_bytes()
    succeeded(train_here(*flags, "--overwrite"))
    assert (tmp_path / "run" / "history.csv").read_bytes() == history
    assert (tmp_path / "run" / "2" / "saved_model.pb").exists()
    assert not (tmp_path / "run" / "1").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_depth_search_keeps_the_cheapest_depth_within_the_tolerance(own, tmp_path):
    printed = succeeded(
        train_here(
            *own_flags(
                own,
                tmp_path,
                trainable_layers="auto",
                epochs=1,
                accuracy_tolerance=2,
                time_budget=9,
                exports="litert",
            )
        )
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
    settings |= {
        "exports": "litert",
        "layer_decay": 0.9,
        "label_smoothing": 0.1,
        "schedule": "cosine",
        "weight_decay": 0.1,
    }
    printed = succeeded(train_here(*own_flags(own, tmp_path, **settings), "--stages", "--calibrate=off"))
    assert "head first" in printed
    record = record_of(tmp_path / "run")
    assert record["metrics"]["after"]["accuracy"] > 0.8
    assert 1 < len(record["history"]) <= 3
    assert (tmp_path / "run" / "logs" / "head" / "train").is_dir()


def test_three_classes_by_name(own, tmp_path):
    names = ["bad", "good", "so-so"]
    texts, labels = sentences(240, seed=4)
    numbers = [2 if number % 5 == 0 else label for number, label in enumerate(labels)]
    rows = [[text, names[number]] for text, number in zip(texts, numbers, strict=True)]
    with open(tmp_path / "three.csv", "w", newline="") as file:
        csv.writer(file).writerows([["review", "stars"], *rows])
    flags = [
        f"--train_file={tmp_path}/three.csv",
        "--text_column=review",
        "--label_column=stars",
        f"--model={own['model']}",
        f"--cache_dir={own['cache']}",
        f"--output_dir={tmp_path}/m",
    ]
    printed = succeeded(
        train_here(*flags, "--epochs=6", "--learning_rate=0.01", "--strategy=default", "--precision=float32")
    )
    record = record_of(tmp_path / "m" / "three")
    assert record["label_names"] == names
    assert np.array(record["metrics"]["after"]["confusion"]).shape == (3, 3)
    assert record["data"]["rows"] == {"train": 215, "validation": 25}
    assert record["calibration"]["temperature"] != 1
    assert "after: calibrated with a temperature of" in printed

    # What the run reports is what its export answers: dividing logits changes the ranks of several classes.
    settings = DataSettings(files={"train": tmp_path / "three.csv"}, text_column="review", label_column="stars")
    splits = loading.load(settings)
    labels = loading.label_array(splits.rows["validation"])
    exported = saved_model.load(tmp_path / "m" / "three").predict(splits.rows["validation"]["text"])[1]
    after = record["metrics"]["after"]
    assert after["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, exported, labels=[0, 1, 2]), abs=1e-5)
    area = sklearn.metrics.roc_auc_score(labels, exported, multi_class="ovr")
    assert after["roc_auc"] == pytest.approx(area, abs=1e-6)
    precision = sklearn.metrics.average_precision_score(np.eye(3)[labels], exported, average="macro")
    assert after["average_precision"] == pytest.approx(precision, abs=1e-6)
    assert evaluate(saved_model.load(tmp_path / "m" / "three"), settings)["roc_auc"] == pytest.approx(area, abs=1e-9)


def test_texts_without_words_and_very_long_ones_are_no_mistake(own, tmp_path):
    texts, labels = sentences(60, seed=5)
    texts[0], texts[1], texts[2] = "", "   ", "word " * 50_000
    with open(tmp_path / "odd.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(texts, labels, strict=True)])
    flags = own_flags(own, tmp_path / "m", train_file=tmp_path / "odd.csv", epochs=1, cache="off", exports="litert")
    printed = succeeded(train_here(*flags))
    assert "2 of 60 texts are empty" in printed
    assert "1 of 60 texts cut at 32 tokens" in printed


def test_frozen_features_are_found_again_and_a_damaged_cache_is_rebuilt(own, tmp_path):
    flags = own_flags(own, tmp_path / "m", cache_dir=tmp_path / "c", epochs=1, exports="litert")
    assert "found in the cache" not in succeeded(train_here(*flags))
    assert "found in the cache" in succeeded(train_here(*flags, "--overwrite", "--learning_rate=0.02"))
    for values in (tmp_path / "c" / "features").glob("*/values"):
        values.write_bytes(values.read_bytes()[:-1] + b"!")
    assert "damaged" in succeeded(train_here(*flags, "--overwrite"))


def test_quiet_prints_nothing(own, tmp_path):
    assert succeeded(train_here(*own_flags(own, tmp_path, epochs=1, exports="litert"), "--quiet")) == ""


def test_seeds_train_as_runs_of_their_own_and_the_best_on_validation_is_exported(own, tmp_path):
    settings = {"trainable_layers": 1, "epochs": 1, "exports": "litert"}
    printed = succeeded(train_here(*own_flags(own, tmp_path / "both", **settings, seeds=2, seed=4)))
    record = record_of(tmp_path / "both" / "run")
    succeeded(train_here(*own_flags(own, tmp_path / "alone", **settings, seed=5)))
    alone = record_of(tmp_path / "alone" / "run")["metrics"]["after"]
    first, second = record["seeds"]
    assert [row["seed"] for row in record["seeds"]] == [4, 5]
    assert second["metrics"] == {name: alone[name] for name in second["metrics"]}
    assert first["metrics"] != second["metrics"]
    chosen = max(record["seeds"], key=lambda row: (row["validation"]["accuracy"], -row["validation"]["loss"]))
    assert chosen["chosen"]
    assert record["metrics"]["after"]["loss"] == pytest.approx(chosen["metrics"]["loss"])
    over, losses = record["metrics"]["over_seeds"]["loss"], [row["metrics"]["loss"] for row in record["seeds"]]
    assert (over["mean"], over["least"], over["most"]) == (pytest.approx(np.mean(losses)), min(losses), max(losses))
    assert "seeds: 4" in printed
    assert "over the seeds" in printed
    assert not (tmp_path / "both" / "run" / "hf").exists()  # with nothing but a model card it would look like a model


def test_a_solved_head_says_which_settings_have_no_effect_and_a_trained_one_uses_them(own, tmp_path):
    flags = {"exports": "litert", "learning_rate": 1e-2, "epochs": 2}
    printed = succeeded(train_here(*own_flags(own, tmp_path / "solved", **flags)))
    assert "no effect on a solved head: --epochs, --learning_rate; pass --head=sgd" in printed
    record = record_of(tmp_path / "solved" / "run")
    assert record["config"]["head"] == "solve"
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    succeeded(train_here(*own_flags(own, tmp_path / "sgd", **flags, head="sgd")))
    trained = record_of(tmp_path / "sgd" / "run")
    assert len(trained["history"]) == 2
    assert record["metrics"]["after"]["loss"] < trained["metrics"]["after"]["loss"]


@pytest.mark.parametrize(("depth", "way"), [(0, "auto"), (1, "head"), (1, "deep")])
def test_labels_that_look_wrong_are_listed_by_file_and_row(own, tmp_path, depth, way):
    texts, labels = sentences(200, seed=6)
    wrong = [17, 60, 144]
    given = [1 - label if number in wrong else label for number, label in enumerate(labels)]
    with open(tmp_path / "noisy.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(texts, given, strict=True)])
    settings = {"trainable_layers": depth, "audit_labels": way, "exports": "litert", "epochs": 3}
    printed = succeeded(train_here(*own_flags(own, tmp_path / "m", train_file=tmp_path / "noisy.csv", **settings)))
    assert "training labels look wrong" in printed
    with open(tmp_path / "m" / "run" / "suspicious_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    first = {int(row["row"]) - 1 for row in rows[:6]}
    assert len(first & set(wrong)) >= 2
    assert all(row["file"] == "noisy.csv" and row["given"] != row["likely"] for row in rows)
    assert all(texts[int(row["row"]) - 1] == row["text"] for row in rows)
    audit = record_of(tmp_path / "m" / "run")["label_audit"]
    assert audit["way"] == ("head" if way == "auto" else way)
    assert audit["suspicious"] == len(rows)
    assert audit["interval"][0] <= audit["share"] <= audit["interval"][1]
    assert "Labels that look wrong" in (tmp_path / "m" / "run" / "report.html").read_text()
