import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets as hf_datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_tf.data import leaks, loading, readers
from sentiment_tf.data.settings import SPLITS, DataSettings
from sentiment_tf.errors import UserError
from tests.support import hub

ROWS = [(f"review number {row} is its own text", row % 2) for row in range(20)]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(hf_datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def write(path, rows=ROWS, *, header=("text", "label"), separator=","):
    """Writes rows of strings that need no quoting."""
    lines = [separator.join(header), *(separator.join(map(str, row)) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def glue(folder, train=ROWS, dev=ROWS[:4], test=None):
    """Writes a folder in GLUE's layout."""
    write(folder / "train.tsv", train, header=("sentence", "label"), separator="\t")
    write(folder / "dev.tsv", dev, header=("sentence", "label"), separator="\t")
    if test is not None:
        write(folder / "test.tsv", test, header=("index", "sentence"), separator="\t")
    return folder


def load(*, seed=0, limit=None, **flags):
    """Loads what a training run with these flags would load."""
    files = {split: flags.pop(f"{split}_file", None) for split in SPLITS}
    return loading.load(DataSettings(files=files, **flags), seed=seed, limit=limit)


def load_rows(label_names, *, seed=0, test_file=None, **flags):
    """Loads what an evaluation with these flags would measure a model of these classes on."""
    data = DataSettings(files={"test": test_file}, **flags)
    return loading.load_rows(data, label_names=label_names, seed=seed)


def labels(splits, split="train"):
    return loading.label_array(splits.rows[split]).tolist()


def problem(error):
    return "; ".join(error.value.problems)


# The user's own files


def write_as(path, rows):
    texts, numbers = [list(column) for column in zip(*rows, strict=True)]
    if path.suffix == ".csv":
        write(path, rows)
    elif path.suffix == ".tsv":
        write(path, rows, separator="\t")
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts, "label": numbers}), path)
    else:
        path.write_text("".join(json.dumps({"text": text, "label": number}) + "\n" for text, number in rows))
    return path


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, extension):
    train, validation = write_as(tmp_path / f"a{extension}", ROWS), write_as(tmp_path / f"b{extension}", ROWS[:5])
    splits = load(train_file=train, validation_file=validation)
    assert splits.rows["train"][:]["text"] == [text for text, _ in ROWS]
    assert labels(splits) == [label for _, label in ROWS]
    assert splits.rows["train"].features == {
        "text": hf_datasets.Value("string"),
        "label": hf_datasets.Value("int64"),
        "row": hf_datasets.Value("int64"),
    }
    assert len(splits.rows["validation"]) == 5
    assert splits.name == "custom"
    assert splits.label_names == ("0", "1")
    assert splits.source["kind"] == "files"
    assert splits.source["files"] == [str(train), str(validation)]
    reference = load(train_file=write_as(tmp_path / "c.csv", ROWS), validation_file=write(tmp_path / "d.csv"))
    assert splits.source["fingerprint"]["train"] == reference.source["fingerprint"]["train"]
    assert splits.source["fingerprint"]["validation"] != reference.source["fingerprint"]["validation"]


def test_text_that_looks_like_a_number_or_a_gap_stays_text(tmp_path):
    rows = [("NA", "pos"), ("007", "neg"), ("1e5", "pos"), ("null", "neg"), ("", "pos")]
    splits = load(train_file=write(tmp_path / "a.csv", rows), validation_file=write(tmp_path / "b.csv", rows))
    assert splits.rows["train"][:]["text"] == ["NA", "007", "1e5", "null", ""]
    assert labels(splits) == [1, 0, 1, 0, 1]
    assert splits.label_names == ("neg", "pos")
    assert "train: 1 of 5 texts are empty; they are kept." in splits.notes


def test_csv_is_quoted_and_tsv_is_not(tmp_path):
    (tmp_path / "a.csv").write_text('\ufefftext,label\n"one, ""two""\nthree",1\nfour,0\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text('text\tlabel\n"one, "" two\t1\r\n" four\t0\r\n')
    splits = load(train_file=tmp_path / "a.csv", validation_file=tmp_path / "b.tsv")
    assert splits.rows["train"][:]["text"] == ['one, "two"\nthree', "four"]
    assert splits.rows["validation"][:]["text"] == ['"one, "" two', '" four']


def test_line_break_tags_become_spaces(tmp_path):
    rows = [("one<br /><br />two", 0), ("three<BR>four<br/>five", 1)]
    splits = load(train_file=write(tmp_path / "a.csv", rows), validation_file=write(tmp_path / "b.csv"))
    assert splits.rows["train"][:]["text"] == ["one  two", "three four five"]


def test_long_texts_are_kept_and_counted(tmp_path):
    rows = [("word " * 5000, 0), ("short", 1)]
    splits = load(train_file=write(tmp_path / "a.csv", rows), validation_file=write(tmp_path / "b.csv"))
    assert len(splits.rows["train"][0]["text"]) == 25_000
    assert "train: 1 texts are longer than 20,000 characters; they are kept." in splits.notes


def test_columns_are_found_by_their_usual_names_or_named(tmp_path):
    rows = [(1, "good one", "x"), (0, "bad one", "y")]
    path = write(tmp_path / "a.csv", rows, header=("Sentiment", "Review", "other"))
    other = write(tmp_path / "b.csv", rows, header=("Sentiment", "Review", "other"))
    assert load(train_file=path, validation_file=other).rows["train"][:]["text"] == ["good one", "bad one"]
    named = load(train_file=path, validation_file=other, text_column="Review", label_column="other")
    assert named.label_names == ("x", "y")


def test_columns_may_stand_under_each_others_names(tmp_path):
    rows = [(1, "good one"), (0, "bad one")]
    path = write(tmp_path / "a.csv", rows, header=("text", "label"))
    other = write(tmp_path / "b.csv", rows, header=("text", "label"))
    splits = load(train_file=path, validation_file=other, text_column="label", label_column="text")
    assert splits.rows["train"][:]["text"] == ["good one", "bad one"]


@pytest.mark.parametrize(
    ("written", "names", "numbers"),
    [
        (["negative", "positive", "negative"], ("negative", "positive"), [0, 1, 0]),
        (["Positive", "neg", "Positive"], ("neg", "Positive"), [1, 0, 1]),
        (["negative", "positive", "neutral"], ("negative", "neutral", "positive"), [0, 2, 1]),
        ([2, 0, 1], ("0", "1", "2"), [2, 0, 1]),
        ([5, 1, 10], ("1", "5", "10"), [1, 0, 2]),
        (["1.0", " 0", "1"], ("0", "1"), [1, 0, 1]),
        (["POS", "pos", "Neg"], ("Neg", "pos"), [1, 1, 0]),
    ],
)
def test_labels_are_numbers_or_sorted_names(tmp_path, written, names, numbers):
    rows = [(f"text {row}", label) for row, label in enumerate(written)]
    splits = load(train_file=write(tmp_path / "a.csv", rows), validation_file=write(tmp_path / "b.csv", rows))
    assert splits.label_names == names
    assert labels(splits) == numbers


def test_parquet_brings_class_names_in_their_order(tmp_path):
    features = hf_datasets.Features(
        {"review": hf_datasets.Value("large_string"), "label": hf_datasets.ClassLabel(names=["ugly", "bad", "good"])}
    )
    table = pa.table({"review": ["a", "b", None], "label": [2, 0, 1]}, schema=features.arrow_schema)
    pq.write_table(table, tmp_path / "a.parquet")
    validation = write(tmp_path / "b.csv", [("x", "bad"), ("y", "Good")])
    splits = load(train_file=tmp_path / "a.parquet", validation_file=validation)
    assert splits.label_names == ("ugly", "bad", "good")
    assert splits.rows["train"][:] == {"text": ["a", "b", ""], "label": [2, 0, 1], "row": [1, 2, 3]}
    assert labels(splits, "validation") == [1, 2]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([True, False, True]), ("false", "true")),
        (pa.array([1.0, 0.0, 1.0]), ("0", "1")),
        (pa.array(["pos", "neg", "pos"]).dictionary_encode(), ("neg", "pos")),
    ],
)
def test_labels_of_any_simple_type(tmp_path, column, names):
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": column}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["d"], "label": column[:1]}), tmp_path / "b.parquet")
    splits = load(train_file=tmp_path / "a.parquet", validation_file=tmp_path / "b.parquet")
    assert splits.label_names == names
    assert labels(splits) == [1, 0, 1]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string_view(), pa.binary_view()])
def test_parquet_columns_of_every_kind_of_string(tmp_path, kind):
    texts, names = (pa.array(values).cast(kind) for values in (["caf\xe9", "b"], ["pos", "neg"]))
    for name in ("a", "b"):
        pq.write_table(pa.table({"text": texts, "label": names}), tmp_path / f"{name}.parquet")
    splits = load(train_file=tmp_path / "a.parquet", validation_file=tmp_path / "b.parquet")
    assert splits.rows["train"][:]["text"] == ["caf\xe9", "b"]
    assert splits.label_names == ("neg", "pos")


def test_file_that_has_changed_is_read_again(tmp_path):
    path, other = write(tmp_path / "a.csv"), write(tmp_path / "b.csv")
    load(train_file=path, validation_file=other)
    write(path, [("new", 0), ("rows", 1)])
    os.utime(path, ns=(0, 0))
    assert load(train_file=path, validation_file=other).rows["train"][:]["text"] == ["new", "rows"]


def test_path_with_glob_signs_is_just_a_path(tmp_path):
    path = write(tmp_path / "[a] *" / "x?.csv")
    assert len(load(train_file=path, validation_file=write(tmp_path / "b.csv")).rows["train"]) == 20


# Folders


def test_glue_folder(tmp_path):
    train = [('a " quoted , phrase ', 1), ("hide new secretions ", 0)]
    splits = load(dataset="sst2", data_dir=glue(tmp_path, train, test=[(0, "no label here")]))
    assert splits.name == "sst2"
    assert splits.label_names == ("NEGATIVE", "POSITIVE")
    texts = ['a " quoted , phrase ', "hide new secretions "]
    assert splits.rows["train"][:] == {"text": texts, "label": [1, 0], "row": [1, 2]}
    assert splits.rows.keys() == {"train", "validation"}
    assert splits.report_split == "validation"
    assert any("test.tsv) has no labels and is left out" in note for note in splits.notes)


def test_folder_is_recognised_without_a_name(tmp_path):
    splits = load(data_dir=glue(tmp_path))
    assert splits.name == "custom"
    assert splits.label_names == ("0", "1")


def test_review_folder(tmp_path):
    for split, count in (("train", 12), ("test", 3)):
        for name in ("pos", "neg"):
            for row in range(count):
                file = tmp_path / split / name / f"{row}_7.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{split} {name} {row}<br />é", encoding="utf-8")
    splits = load(dataset="imdb", data_dir=tmp_path)
    assert splits.label_names == ("NEGATIVE", "POSITIVE")
    assert splits.report_split == "test"
    assert splits.rows["test"][:]["text"][0] == "test neg 0 é"
    assert labels(splits, "test") == [0, 0, 0, 1, 1, 1]
    assert {split: len(rows) for split, rows in splits.rows.items()} == {"train": 22, "validation": 2, "test": 6}
    unnamed = load(data_dir=tmp_path)
    assert (unnamed.name, unnamed.label_names) == ("custom", ("neg", "pos"))


def test_folder_with_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.csv")
    write_as(tmp_path / "valid.jsonl", ROWS[:4])
    write_as(tmp_path / "test.parquet", ROWS[:6])
    splits = load(data_dir=tmp_path)
    assert {split: len(rows) for split, rows in splits.rows.items()} == {"train": 20, "validation": 4, "test": 6}
    assert splits.report_split == "test"


# Splitting off validation rows, and drawing training rows


def test_missing_validation_is_split_off_from_train(tmp_path):
    rows = [(f"{row} text of its own kind number {row}", int(row % 4 == 0)) for row in range(200)]
    splits = load(train_file=write(tmp_path / "a.csv", rows), seed=3)
    assert np.bincount(labels(splits, "validation")).tolist() == [15, 5]
    texts = {split: set(part[:]["text"]) for split, part in splits.rows.items()}
    assert not texts["train"] & texts["validation"]
    assert len(texts["train"] | texts["validation"]) == 200
    assert any("Validation is 20 rows split off from train, 10% of each class;" in note for note in splits.notes)
    again = load(train_file=tmp_path / "a.csv", seed=3)
    assert again.source["fingerprint"] == splits.source["fingerprint"]
    assert load(train_file=tmp_path / "a.csv", seed=4).source["fingerprint"] != splits.source["fingerprint"]


def test_duplicates_and_phrases_of_a_sentence_stay_in_one_split(tmp_path):
    words = [f"word{number}" for number in range(400)]
    random = np.random.default_rng(0)
    rows = []
    for row in range(60):
        sentence = random.choice(words, 12).tolist()
        phrase, other = " ".join(sentence[2:9]), " ".join([*sentence[:11], "instead"])
        rows += [(text, row % 2) for text in (" ".join(sentence), " ".join(sentence).upper() + " ", phrase, other)]
    splits = load(train_file=write(tmp_path / "a.csv", rows))
    origin = {text.strip(): row // 4 for row, (text, _) in enumerate(rows)}
    sides = {split: {origin[text.strip()] for text in part[:]["text"]} for split, part in splits.rows.items()}
    assert len(sides["validation"]) == 6
    assert not sides["train"] & sides["validation"]


def test_note_says_when_near_duplicates_were_not_searched_for(tmp_path, monkeypatch):
    monkeypatch.setattr(leaks, "MOST_WORDS", 10)
    splits = load(train_file=write(tmp_path / "a.csv"))
    assert any("near duplicates are not searched for" in note for note in splits.notes)


def test_limit_draws_training_rows_after_validation_is_split_off(tmp_path):
    rows = [(f"{row} text of its own kind number {row}", int(row % 4 == 0)) for row in range(200)]
    path = write(tmp_path / "a.csv", rows)
    whole, limited = load(train_file=path), load(train_file=path, limit=40)
    assert np.bincount(labels(limited)).tolist() == [30, 10]
    assert limited.source["fingerprint"]["validation"] == whole.source["fingerprint"]["validation"]
    assert set(limited.rows["train"][:]["text"]) < set(whole.rows["train"][:]["text"])
    assert "Training uses 40 rows, drawn at random and stratified by class." in limited.notes
    assert load(train_file=path, limit=10**6).source == whole.source


def test_packaged_reviews():
    splits = load(dataset="rotten_tomatoes", offline=True)
    assert {split: len(rows) for split, rows in splits.rows.items()} == {"train": 7677, "validation": 853}
    assert sorted(np.bincount(labels(splits, "validation"))) == [426, 427]
    assert splits.label_names == ("NEGATIVE", "POSITIVE")
    assert splits.source["kind"] == "packaged"


# Rows to evaluate on


def test_rows_of_a_file_get_the_models_labels(tmp_path):
    rows = [("a", "pos"), ("b", "Negative"), ("c", "1"), ("d", "0"), ("e", "POSITIVE")]
    splits = load_rows(["NEGATIVE", "POSITIVE"], test_file=write(tmp_path / "a.csv", rows))
    assert splits.rows.keys() == {"test"}
    assert labels(splits, "test") == [1, 0, 1, 0, 1]
    assert splits.label_names == ("NEGATIVE", "POSITIVE")


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (("neg", "pos"), ("Negative", "POSITIVE")),
        (("negative", "neutral", "positive"), ("neg", "pos")),
        (("neg", "neu", "pos"), ("negative", "neutral")),
        (("neg", "negative"), ("negative", "neg")),  # the very name comes first
    ],
)
def test_short_and_long_names_match_both_ways(tmp_path, model, written):
    rows = [(f"text {number}", label) for number, label in enumerate(written)]
    expected = {("neg", "pos"): [0, 1], ("negative", "neutral", "positive"): [0, 2]}
    expected |= {("neg", "neu", "pos"): [0, 1], ("neg", "negative"): [1, 0]}
    splits = load_rows(model, test_file=write(tmp_path / "a.csv", rows))
    assert labels(splits, "test") == expected[model]


def test_classes_without_rows_get_a_note(tmp_path):
    train = [(f"text {n} of its own", ("a", "b", "c")[n % 3]) for n in range(30)]
    dev, test = [("x", "a"), ("y", "b")], [("x", "c"), ("y", "c")]
    files = {"train_file": train, "validation_file": dev, "test_file": test}
    splits = load(**{name: write(tmp_path / f"{name}.csv", rows) for name, rows in files.items()})
    assert "validation: no row has the label c." in splits.notes
    assert "test: every row has the label c; ROC-AUC and the like are undefined." in splits.notes
    assert not any(note.startswith("train") for note in splits.notes)
    splits = load_rows(["a", "b", "c"], test_file=tmp_path / "test_file.csv")
    assert splits.notes == ("test: every row has the label c; ROC-AUC and the like are undefined.",)


def test_rows_keep_the_name_of_their_file_and_their_number_in_it(tmp_path):
    rows = [(f"{row} text of its own kind number {row}", row % 2) for row in range(60)]
    splits = load(train_file=write(tmp_path / "a.csv", rows), test_file=write(tmp_path / "b.csv", rows[:4]), limit=20)
    texts = {f"a.csv, row {number}": text for number, (text, _) in enumerate(rows, 1)}
    for split in ("train", "validation"):  # drawn at random
        names = splits.row_names(split)
        assert [texts[name] for name in names] == splits.rows[split][:]["text"]
    assert splits.row_names("test") == ["b.csv, row 1", "b.csv, row 2", "b.csv, row 3", "b.csv, row 4"]


def test_packaged_rows_keep_their_number_in_the_packages_file():
    splits = load(dataset="rotten_tomatoes", offline=True)
    file = Path(splits.source["files"][0])
    with file.open(encoding="utf-8", newline="") as lines:
        texts = [row["text"] for row in csv.DictReader(lines)]
    number = splits.rows["validation"][5]["row"]
    assert splits.row_names("validation")[5] == f"{file.name}, row {number:,}"
    assert texts[number - 1] == splits.rows["validation"][5]["text"]


def test_reviews_of_a_folder_are_named_by_their_files(tmp_path):
    for name in ("pos", "neg"):
        for number in (7, 8):
            file = tmp_path / "train" / name / f"{number}_1.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name} {number}")
    rows = load_rows(["neg", "pos"], data_dir=tmp_path)
    assert set(rows.row_names("validation")) <= {f"train/{name}/{n}_1.txt" for name in ("neg", "pos") for n in (7, 8)}
    assert rows.row_names("validation")[0].split("/")[1] == rows.rows["validation"][0]["text"].split()[0]


def test_numbers_that_are_names_are_no_places(tmp_path):
    path = write(tmp_path / "a.csv", [("a", "5"), ("b", "1")])
    assert labels(load_rows(["1", "3", "5"], test_file=path), "test") == [2, 0]
    with pytest.raises(UserError, match="row 2 .* has the label '1'; known are 3, 5"):
        load_rows(["3", "5"], test_file=path)


def test_named_classes_find_their_place_in_the_models_labels(tmp_path):
    folder = glue(tmp_path, dev=[("good", 1), ("bad", 0), ("fine", 1)])
    for names, expected in (
        (["POSITIVE", "NEGATIVE"], [0, 1, 0]),
        (["negative", "neutral", "positive"], [2, 0, 2]),
        (["0", "1"], [1, 0, 1]),
    ):
        splits = load_rows(names, dataset="sst2", data_dir=folder)
        assert splits.rows.keys() == {"validation"}
        assert labels(splits, "validation") == expected


def test_rows_split_off_are_the_ones_that_training_has_held_out(tmp_path):
    path = write(tmp_path / "train.csv", [(f"{row} of its own kind number {row}", row % 2) for row in range(100)])
    held_out = load(data_dir=tmp_path, seed=7)
    rows = load_rows(["0", "1"], data_dir=path.parent, seed=7)
    assert rows.rows.keys() == {"validation"}
    assert rows.source["fingerprint"]["validation"] == held_out.source["fingerprint"]["validation"]


# Mistakes


def bad_csv(rows, **settings):
    return lambda folder: load(train_file=write(folder / "bad.csv", rows), **settings)


def bad_classes(names):
    def mistake(folder):
        features = hf_datasets.Features(
            {"text": hf_datasets.Value("string"), "label": hf_datasets.ClassLabel(names=names)}
        )
        rows = hf_datasets.Dataset.from_dict({"text": list("abcd"), "label": [0, 1, 0, 1]}, features=features)
        with readers.quiet():
            rows.to_parquet(folder / "a.parquet")
        load(train_file=folder / "a.parquet")

    return mistake


def bad_bytes(name, data):
    def run(folder):
        (folder / name).write_bytes(data)
        return load(train_file=folder / name)

    return run


def gzipped(path):
    path.write_bytes(gzip.compress(b"text,label\na,1\nb,0\n"))
    return path


def twice(path):
    pq.write_table(pa.table([["a"], ["b"], [1]], names=["text", "text", "label"]), path)
    return path


def fifo(path):
    os.mkfifo(path)
    return path


GOOD = ROWS[:4]
MISTAKES = {
    "unknown data set": (
        lambda folder: load(dataset="sst3"),
        "--dataset=sst3: unknown; known are sst2, imdb, rotten_tomatoes; or pass --data_dir or --train_file",
    ),
    "nothing named": (lambda folder: load(), "--dataset: name one of sst2"),
    "folder and file": (
        lambda folder: load(data_dir=folder, train_file=folder / "a.csv"),
        "--data_dir=.*: pass it or --train_file, not both",
    ),
    "name and file": (
        lambda folder: load(dataset="imdb", train_file=folder / "a.csv"),
        "--dataset=imdb: pass it or --train_file, not both",
    ),
    "test without train": (lambda folder: load(test_file="a.csv"), "--train_file: is missing"),
    "one file twice": (
        lambda folder: load(train_file="a.csv", test_file="a.csv"),
        "--train_file, --test_file: each split needs a file of its own",
    ),
    "revision of a folder": (
        lambda folder: load(data_dir=folder, revision="v1"),
        "--dataset_revision=v1: names a revision on the hub",
    ),
    "column of a named set": (
        lambda folder: load(dataset="imdb", offline=True, text_column="x"),
        "--text_column=x: is for your own files",
    ),
    "nothing packaged": (
        lambda folder: load(dataset="sst2", offline=True),
        "--dataset=sst2 has no packaged copy; imdb and rotten_tomatoes have; or pass --data_dir=FOLDER in the layout",
    ),
    "scores from -1 to 1": (
        bad_csv([("a", -1), ("b", 1), ("c", 1)]),
        r"row 1 .* has the label '-1'; .*number the classes from 0 \(0 and 1 for -1 and 1\)",
    ),
    "unique labels": (
        bad_csv([(f"text {n}", f"id{n}") for n in range(100)]),
        "bad.csv: 100 different labels in 100 rows; name the column of the classes with --label_column",
    ),
    "continuous labels": (
        bad_csv([(f"text {n}", n / 7) for n in range(1, 101)]),
        "bad.csv: 100 different labels in 100 rows; .* turn scores into a few classes",
    ),
    "NaN beside names": (
        bad_csv([*[(f"text {n}", ("good", "bad")[n % 2]) for n in range(20)], ("x", "NaN")]),
        "row 21 .* has the label 'NaN'; a class, or a missing label",
    ),
    "null beside names": (
        bad_csv([("a", "good"), ("b", "null"), ("c", "bad")]),
        "row 2 .* has the label 'null'; a class, or a missing label",
    ),
    "semicolons": (
        bad_bytes("a.csv", b"text;label\na;1\nb;0\n"),
        "a.csv: its header has semicolons between the columns; save it with commas as .csv",
    ),
    "semicolons between texts with commas": (
        bad_bytes("a.csv", b"text;label\na;1\nb, c;0\n"),
        "a.csv: its header has semicolons between the columns; save it with commas as .csv",
    ),
    "commas in a TSV": (
        bad_bytes("a.tsv", b"text,label\na,1\nb,0\n"),
        "a.tsv: its header has commas between the columns",
    ),
    "compressed": (
        lambda folder: load(train_file=gzipped(folder / "a.csv.gz")),
        r"a.csv.gz: is compressed \(.gz\); unpack it",
    ),
    "compressed, whatever its name says": (
        lambda folder: load(train_file=gzipped(folder / "a.csv")),
        "a.csv: is compressed, not text; save its rows as CSV",
    ),
    "a folder for a file": (
        lambda folder: load(train_file=folder),
        "--train_file=.*: is a folder; pass a file",
    ),
    "a pipe": (
        lambda folder: load(train_file=fifo(folder / "a.csv")),
        "--train_file=.*a.csv: is a pipe or a device, and rows are read more than once; save them as a file",
    ),
    "a device": (
        lambda folder: load(train_file="/dev/null"),
        "--train_file=/dev/null: is a pipe or a device",
    ),
    "missing folder": (lambda folder: load(data_dir=folder / "no"), "--data_dir=.*/no: no such folder"),
    "empty folder": (lambda folder: load(data_dir=folder), r"expected the layout of GLUE \(train.tsv, dev.tsv"),
    "no GLUE folder": (
        lambda folder: load(dataset="sst2", data_dir=folder),
        r"--dataset=sst2 expects the layout of GLUE \(train.tsv, dev.tsv",
    ),
    "no review folder": (
        lambda folder: load(dataset="imdb", data_dir=folder),
        r"--dataset=imdb expects the layout of aclImdb \(train\|test",
    ),
    "two files for a split": (
        lambda folder: [write(folder / name) for name in ("train.csv", "dev.csv", "val.tsv")] and load(data_dir=folder),
        "val.tsv and dev.csv could both be the validation split; pass --validation_file",
    ),
    "missing file": (lambda folder: load(train_file=folder / "no.csv"), "no.csv: no such file"),
    "unknown extension": (
        bad_bytes("a.xlsx", b"PK"),
        "a.xlsx: unknown extension '.xlsx'; known are .csv",
    ),
    "missing text column": (
        bad_csv(GOOD, text_column="body"),
        "--text_column=body: no such column in .*bad.csv; its columns are text, label",
    ),
    "missing label column": (bad_csv(GOOD, label_column="y"), "--label_column=y: no such column"),
    "one column for both": (
        bad_csv(GOOD, label_column="text"),
        "--text_column=text: is also the label column in .*bad.csv",
    ),
    "no known column": (
        lambda folder: load(train_file=write(folder / "a.csv", GOOD, header=("a", "b"))),
        r"a.csv: no text column found \(looked for text, .*; its columns are a, b\); name one with --text_column",
    ),
    "empty file": (bad_bytes("a.csv", b""), "a.csv: is empty"),
    "header alone": (bad_csv([]), "bad.csv: holds no rows"),
    "empty JSON lines": (bad_bytes("a.jsonl", b""), "a.jsonl: holds no rows"),
    "one class": (bad_csv([("a", 1), ("b", 1)]), r"bad.csv: only one class \(1\)"),
    "label -1": (
        bad_csv([*GOOD, ("x", -1)]),
        r"bad.csv: row 5 \(counted from 1.*\) has the label '-1'; -1 and blanks mean",
    ),
    "no label": (bad_csv([*GOOD, ("x", "")]), "row 5 .* has no label"),
    "name among numbers": (bad_csv([*GOOD, ("x", "good")]), "row 5 .* has the label 'good'; expected whole numbers"),
    "tab in a label": (
        bad_bytes("a.csv", b'text,label\na,good\nb,"ba\td"\n'),
        r"row 2 .* has the label 'ba\\td'; a label must not hold tabs, line ends",
    ),
    "line end in a class name": (
        bad_classes(["bad", "go\nod"]),
        r"a.parquet: has the class 'go\\nod'; a label must not hold tabs, line ends",
    ),
    "fraction": (bad_csv([*GOOD, ("x", "0.5")]), "row 5 .* has the label '0.5'; expected whole numbers"),
    "negative number": (bad_csv([*GOOD, ("x", "-2")]), "row 5 .* has the label '-2'; expected whole numbers from 0"),
    "number among names": (
        bad_csv([("a", "x"), ("b", "y"), ("c", "7")]),
        "row 3 .* has the label '7'; the others are names",
    ),
    "unknown label in another split": (
        lambda folder: load(
            train_file=write(folder / "a.csv"), validation_file=write(folder / "b.csv", [("x", 0), ("y", 2)])
        ),
        "b.csv: row 2 .* has the label '2'; known are 0, 1",
    ),
    "test file without labels": (
        lambda folder: load(train_file=write(folder / "a.csv"), test_file=write(folder / "b.csv", [("x", -1)])),
        "b.csv: row 1 .* has the label '-1'",
    ),
    "label 2 in SST-2": (
        lambda folder: load(dataset="sst2", data_dir=glue(folder, train=[*GOOD, ("x", 2)])),
        "train.tsv: row 5 .* has the label '2'; known are NEGATIVE, POSITIVE",
    ),
    "text of numbers": (
        bad_bytes("a.jsonl", b'{"text": 1, "label": 0}\n{"text": 2, "label": 1}\n'),
        "--text_column=text: holds .*int64.* in .*a.jsonl, not text",
    ),
    "mixed labels in JSON": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "b", "label": "good"}\n'),
        "a.jsonl: row 2 .* has the label 'good', row 1 has 0; use one kind",
    ),
    "a column twice in JSON": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "b", "text": "c", "label": 1}\n'),
        r"a.jsonl: .*file line 2: two columns are called 'text' \(text, text, label\); rename one",
    ),
    "a string among numbers in JSON": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n{"text": "c", "label": "1"}\n'),
        "a.jsonl: row 3 .* has the label '1', row 1 has 0; use one kind",
    ),
    "a number among texts in JSON": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": 123, "label": 1}\n{"text": "c", "label": 1}\n'),
        "a.jsonl: row 2 .* has 123 as its text; put quotation marks around it",
    ),
    "a number among texts that look like numbers in a JSON array": (
        bad_bytes("a.json", b'[{"text": "12", "label": 0},\n {"text": 123, "label": 1}]'),
        "a.json: row 2 .* has 123 as its text",
    ),
    "a list among texts in JSON": (
        bad_bytes("a.jsonl", b'{"text": ["a"], "label": 0}\n{"text": "b", "label": 1}\n'),
        r'a.jsonl: row 1 .* has \["a"\] as its text',
    ),
    "two columns of one name": (
        bad_bytes("a.csv", b"text,label,text\na,1,b\nb,0,c\n"),
        r"a.csv: two columns are called 'text' \(text, label, text\); rename one",
    ),
    "two columns of one name in Parquet": (
        lambda folder: load(train_file=twice(folder / "a.parquet")),
        r"a.parquet: two columns are called 'text' \(text, text, label\); rename one",
    ),
    "lists for labels": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": [0]}\n'),
        "--label_column=label: holds .* not a number or a name",
    ),
    "lists for labels and another encoding": (
        bad_bytes("a.jsonl", b'{"text": "caf\xe9", "label": ["n\xe9g"]}\n'),
        "--label_column=label: holds .* not a number or a name",
    ),
    "broken JSON": (bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": '), "a.jsonl: .* file line 2: "),
    "fields too many": (
        bad_bytes("a.csv", b"text,label\na,1\nhello, world,1\n"),
        "a.csv: row 2 .* has 3 fields, where",
    ),
    "fields too many at once": (
        bad_bytes("a.csv", b"text,label\nhello, world,1\n"),
        "a.csv: row 1 .* has 3 fields, where the header has 2; put quotation marks around a text with",
    ),
    "fields too many in a TSV": (
        bad_bytes("a.tsv", b"text\tlabel\n\nhello\tworld\t1\n"),
        "a.tsv: row 1 .* has 3 fields, where the header has 2; a text cannot hold a tab",
    ),
    "not Parquet": (bad_bytes("a.parquet", b"text,label\n"), "a.parquet: not a well-formed parquet file"),
    "bytes of another encoding": (
        bad_bytes("a.csv", "text,label\nfine,1\ncaf\xe9,0\n".encode("latin-1")),
        r"a.csv: file line 3, byte 4 \(0xe9\) is not UTF-8; save the file as UTF-8",
    ),
    "bytes of another encoding in JSON": (
        bad_bytes("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "\xff", "label": 1}\n'),
        "a.jsonl: .*(file line|row) 2.* not UTF-8",
    ),
    "UTF-16 in JSON": (
        bad_bytes("a.jsonl", '{"text": "a", "label": 0}\n'.encode("utf-16")),
        r"a.jsonl: file line 1, byte 1 \(0xff\) is not UTF-8; save the file as UTF-8",
    ),
    "another encoding in a JSON array": (
        bad_bytes("a.json", '[\n{"text": "caf\xe9", "label": 0}\n]'.encode("latin-1")),
        r"a.json: file line 2, byte 14 \(0xe9\) is not UTF-8",
    ),
    "another encoding and a broken line in JSON": (
        bad_bytes("a.jsonl", '{"text": "caf\xe9", "label": 0}\n{"text": \n'.encode("latin-1")),
        r"a.jsonl: file line 1, byte 14 \(0xe9\) is not UTF-8",
    ),
    "label of another encoding in JSON": (
        bad_bytes("a.jsonl", '{"text": "a", "label": "pos"}\n{"text": "b", "label": "n\xe9g"}\n'.encode("latin-1")),
        r"a.jsonl: row 2 .* has bytes that are not UTF-8 in its label; save the file as UTF-8",
    ),
    "name that is too long": (
        lambda folder: load(train_file=folder / f"{'a' * 300}.csv"),
        r"--train_file=.*a\.csv: no such file",
    ),
    "folder's name that is too long": (
        lambda folder: load(data_dir=folder / ("a" * 300)),
        "--data_dir=.*aaa: no such folder",
    ),
    "UTF-16": (
        bad_bytes("a.csv", "text,label\na,1\n".encode("utf-16")),
        r"a.csv: file line 1, byte 1 \(0xff\) is not UTF-8",
    ),
    "too few rows to split": (
        bad_csv([("a", 0), ("b", 1)]),
        "train: its 2 rows are too few or too similar to split off validation rows; pass --validation_file",
    ),
    "limit below the classes": (bad_csv(ROWS, limit=1), "--limit=1: the training rows have 2 classes; pass 2 or more"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_said_in_one_line(tmp_path, capfd, name):
    run, message = MISTAKES[name]
    with pytest.raises(UserError, match=message) as error:
        run(tmp_path)
    assert all("\n" not in problem and len(problem) < 500 for problem in error.value.problems)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("odd", [{"text": 123, "label": 1}, {"text": "x", "label": "1"}])
def test_one_odd_row_far_down_a_large_file_is_found(tmp_path, odd):
    """Beyond the first 10 MB, which `datasets` infers the types from."""
    rows = [{"text": f"{row} " + "word " * 2000, "label": row % 2} for row in range(1200)]
    lines = [json.dumps(row) for row in [*rows, odd, {"text": "last", "label": 0}]]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"a.jsonl: row 1,201 \(.*\) has (123 as its text|the label '1')"):
        load(train_file=tmp_path / "a.jsonl")


def test_evaluation_names_its_own_flags():
    with pytest.raises(UserError, match="name one of .*, or pass --data_dir or --test_file"):
        load_rows(["0", "1"])


def test_contradictions_are_reported_together(tmp_path):
    with pytest.raises(UserError) as error:
        load(dataset="nope", data_dir=tmp_path, train_file="a.csv", revision="v1")
    assert len(error.value.problems) == 4


def test_parquet_text_that_is_no_text(tmp_path):
    broken = pa.array([b"ok", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet: row 2 .* not UTF-8"):
        load(train_file=tmp_path / "a.parquet", validation_file=write(tmp_path / "b.csv"))


def test_parquet_label_that_is_no_text(tmp_path):
    broken = pa.array([b"positif", b"n\xe9gatif"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": ["a", "b"], "label": broken}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet: row 2 .* not UTF-8 in its label"):
        load(train_file=tmp_path / "a.parquet", validation_file=write(tmp_path / "b.csv"))


def test_review_that_cannot_be_read_is_named(tmp_path):
    for name in ("pos", "neg"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1_1.txt").write_text("fine")
    (tmp_path / "train" / "pos" / "2_1.txt").mkdir()
    with pytest.raises(UserError, match=r"pos/2_1.txt: cannot be read \(Is a directory\); make it readable"):
        load(data_dir=tmp_path)


@pytest.mark.parametrize(("flag", "kind"), [("train_file", "file"), ("data_dir", "folder")])
def test_place_below_an_unreadable_folder_is_refused(monkeypatch, flag, kind):
    def forbidden(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", forbidden)
    with pytest.raises(UserError) as error:
        load(**{flag: "/closed/a.csv"})
    monkeypatch.undo()
    assert error.value.problems == (f"--{flag}=/closed/a.csv: no such {kind}",)


def test_review_file_of_another_encoding_is_named(tmp_path):
    for name in ("pos", "neg"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1_1.txt").write_bytes(b"fine\ncaf\xe9" if name == "pos" else b"fine")
    with pytest.raises(UserError, match=r"pos/1_1.txt: file line 2, byte 4 \(0xe9\) is not UTF-8"):
        load(data_dir=tmp_path)


# Progress


def test_libraries_are_quiet_and_as_before_afterwards(monkeypatch):
    before = hf_datasets.logging.get_verbosity(), hf_datasets.are_progress_bars_disabled()
    with readers.quiet():
        assert hf_datasets.are_progress_bars_disabled()
    assert (hf_datasets.logging.get_verbosity(), hf_datasets.are_progress_bars_disabled()) == before
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with readers.quiet():
        assert hf_datasets.are_progress_bars_disabled() == before[1]


# The hub

SCRIPT = """
import json, sys, time
from sentiment_tf.data import loading
from sentiment_tf.data.settings import DataSettings
from sentiment_tf.errors import UserError
for settings in json.loads(sys.argv[1]):
    began = time.monotonic()
    try:
        splits = loading.load(DataSettings(**settings))
        said = {"rows": {name: len(rows) for name, rows in splits.rows.items()}, "names": splits.label_names}
        said |= {"source": splits.source, "notes": splits.notes, "first": splits.rows["train"][0]}
    except UserError as error:
        said = {"problems": error.problems}
    print(json.dumps(said | {"seconds": time.monotonic() - began}))
"""


def fetch(environment, *settings):
    """Loads in a fresh process, whose libraries read their settings as they are imported."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, json.dumps(settings)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_hub_then_its_cache(tmp_path):
    sst2, imdb = {"dataset": "sst2"}, {"dataset": "imdb"}
    with hub.HubServer() as server:
        commit = server.commits[hub.SST2]
        pinned, unknown = sst2 | {"revision": "v1"}, sst2 | {"revision": "v9"}
        online = fetch(server.environment(tmp_path), sst2, imdb, pinned, unknown, {"dataset": "rotten_tomatoes"})
        asked = len(server.requests)
        offline_environment = server.environment(tmp_path, offline=True)
        offline = fetch(offline_environment, sst2, imdb, sst2 | {"revision": commit}, sst2 | {"revision": "0" * 40})
        assert len(server.requests) == asked

    assert online[0]["rows"] == {"train": 160, "validation": 40}
    assert online[0]["names"] == ["NEGATIVE", "POSITIVE"]
    assert online[0]["first"]["label"] == 0
    assert online[0]["source"]["id"] == "stanfordnlp/sst2"
    assert online[0]["source"]["revision"] == commit
    assert online[0]["notes"] == ["The test split (stanfordnlp/sst2 test) has no labels and is left out."]
    assert online[1]["rows"] == {"train": 108, "validation": 12, "test": 40}
    assert online[1]["source"]["revision"] == server.commits[hub.IMDB]
    assert "<br" not in online[1]["first"]["text"]
    assert online[2]["source"] == online[0]["source"]
    assert "--dataset_revision=v9: stanfordnlp/sst2 has no such commit, tag or branch" in online[3]["problems"]
    assert "answers with HTTP 404" in online[4]["problems"][0]

    assert [said["source"] for said in offline[:3]] == [online[0]["source"], online[1]["source"], online[0]["source"]]
    assert f"is not in the cache, which holds stanfordnlp/sst2 at {commit}" in offline[3]["problems"][0]


@pytest.mark.slow
def test_hub_out_of_reach_says_what_works_and_soon(tmp_path):
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    (refused,) = fetch(closed, {"dataset": "sst2"})
    (empty,) = fetch(closed | {"HF_HUB_OFFLINE": "1"}, {"dataset": "sst2"})
    assert refused["problems"][0].startswith("--dataset=sst2: the hub http://127.0.0.1:9 is out of reach")
    assert "is not in the cache and HF_HUB_OFFLINE is set" in empty["problems"][0]
    for said in (refused, empty):
        for way in ("--offline", "--data_dir", "--train_file", "HF_HUB_OFFLINE=1"):
            assert way in said["problems"][0]
        assert said["seconds"] < 5
