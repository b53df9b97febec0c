"""Fragments through a model, in this process; what the pool makes of them is in test_job.py."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.inference.engines import litert
from sentiment_tf.inference.jobs import fragment, job, plan
from tests.support import tiny_export, tiny_litert

TEXTS = tiny_export.texts(600)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_litert.export(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def model(run_folder):
    return litert.load(run_folder, cores=1)


@pytest.fixture(scope="module")
def expected(model):
    """Labels, and probabilities float32[texts, classes]."""
    return model.predict(TEXTS)


@pytest.fixture
def score(run_folder, model, tmp_path):
    """Answers every fragment of an input; returns the records."""

    def score(pattern, **settings):
        config = job.ScoreConfig(str(run_folder), str(tmp_path / pattern), str(tmp_path / "out"), **settings)
        opened = job.open_job(config)
        records = {}
        for one in job.missing(opened):
            *counts, record = fragment.score(model, opened.job, one)
            assert sum(counts) == record["rows"]
            records[one.output] = record
        return records

    return score


def test_parquet_keeps_types_and_order(score, tmp_path, expected):
    table = pa.table(
        {
            "id": pa.array(range(600), pa.uint32()),
            "text": TEXTS,
            "label": pa.array(["gold"] * 600).dictionary_encode(),
            "tags": [["a"], None] * 300,
        }
    ).replace_schema_metadata({"from": "us"})
    pq.write_table(table, tmp_path / "in.parquet")
    records = score("in.parquet")
    answered = pq.read_table(tmp_path / "out" / "in.parquet")
    assert answered.select(table.column_names).equals(table)
    assert answered.schema.metadata[b"from"] == b"us"
    added = ["predicted_label", "predicted_probability", "predicted_probabilities"]
    assert answered.column_names == [*table.column_names, *added]
    labels, probabilities = expected
    assert answered["predicted_label"].to_pylist() == labels
    each = np.array([[*row.values()] for row in answered["predicted_probabilities"].to_pylist()])
    np.testing.assert_allclose(each, probabilities, atol=1e-6)
    np.testing.assert_array_equal(answered["predicted_probability"].to_numpy(), each.max(axis=1).astype(np.float32))
    content = (tmp_path / "out" / "in.parquet").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert records == {"in.parquet": {"rows": 600, "bad_rows": 0, "bytes": len(content), "sha256": digest}}
    assert json.loads((tmp_path / "out" / "_records" / "in.parquet.json").read_text()) == records["in.parquet"]


def test_row_groups_cover_every_row_once(score, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(plan, "FRAGMENT_ROWS", 100)
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "in.parquet", row_group_size=70)
    assert [record["rows"] for record in score("in.parquet").values()] == [140, 140, 140, 140, 40]
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    answered = pa.concat_tables(pq.read_table(part) for part in parts)
    assert answered["text"].to_pylist() == TEXTS
    assert answered["label"].to_pylist() == expected[0]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt"])
def test_records_of_text_formats(score, tmp_path, expected, name):
    texts = [" ".join(text.split()) for text in TEXTS]
    lines = {
        "in.csv": ["text", *('"' + text.replace('"', '""') + '"' for text in texts)],
        "in.jsonl": [json.dumps({"text": text}) for text in texts],
        "in.txt": texts,
    }[name]
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert score(name)[name]["rows"] == 600
    content = (tmp_path / "out" / name).read_text(encoding="utf-8").splitlines()
    if name == "in.jsonl":
        assert [json.loads(line)["label"] for line in content] == expected[0]
    elif name == "in.txt":
        assert [line.split("\t")[0] for line in content] == expected[0]
    else:
        assert content[0].startswith("text,label,probability,probability_NEGATIVE")
        assert len(content) == 601


def test_bad_rows_end_the_job(score, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n{broken\n')
    with pytest.raises(UserError, match=r"^in.jsonl row 2: not JSON .*; fix the row, or pass --skip_bad_rows"):
        score("in.jsonl")
    assert not (tmp_path / "out" / "in.jsonl").exists()


def test_bad_rows_are_left_out_with_their_reasons(score, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "FRAGMENT_ROWS", 2)
    table = pa.table({"id": [0, 1, 2, 3], "text": ["good", "bad", None, "film"]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    records = score("in.parquet", skip_bad_rows=True)
    assert [(record["rows"], record["bad_rows"]) for record in records.values()] == [(2, 0), (1, 1)]
    part = "in.00001-of-00002.parquet"
    assert pq.read_table(tmp_path / "out" / part)["id"].to_pylist() == [3]
    bad = json.loads((tmp_path / "out" / "_bad_rows" / f"{part}.json").read_text())
    assert bad == [{"file": "in.parquet", "row": 3, "reason": "column text holds nothing, not a text"}]
    assert len(list((tmp_path / "out" / "_bad_rows").iterdir())) == 1


def test_a_file_that_changes_while_it_is_read(run_folder, model, tmp_path):
    (tmp_path / "in.txt").write_text("good\nbad\n")
    opened = job.open_job(job.ScoreConfig(str(run_folder), str(tmp_path / "in.txt"), str(tmp_path / "out")))
    answers = fragment.score(model, opened.job, opened.plan.fragments[0])
    assert next(answers) == 2
    (tmp_path / "in.txt").write_text("good\nbad\nfilm\n")
    with pytest.raises(UserError, match=r"--input=.*in.txt: has changed since the job was begun"):
        next(answers)
    (tmp_path / "in.txt").unlink()
    with pytest.raises(UserError, match=r"--input=.*in.txt: is not there on this machine"):
        next(fragment.score(model, opened.job, opened.plan.fragments[0]))
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"_plan.json", "_partial"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"text_column": "text"}, r"was begun with another --text_column \(there None, here text\)"),
        ({"precision": "int8"}, "was begun with another --model .* --precision"),
        ({"input": "{tmp}/*.txt"}, "was begun with another --input"),
        ({"output": "{tmp}"}, "--output={tmp}: holds files of something else"),
        ({"output": "{tmp}/in.txt"}, "--output={tmp}/in.txt: is a file"),
        ({"input": "{tmp}/none"}, "no file matches"),
        ({"model": "{tmp}/none"}, "--model={tmp}/none: no such folder"),
    ],
)
def test_a_folder_belongs_to_one_job(run_folder, tmp_path, change, problem):
    (tmp_path / "in.txt").write_text("good\n")
    settings = {"model": str(run_folder), "input": str(tmp_path / "in.txt"), "output": str(tmp_path / "out")}
    job.open_job(job.ScoreConfig(**settings))
    before = (tmp_path / "out" / "_plan.json").read_bytes()
    if change.get("input") == "{tmp}/none":
        change = change | {"output": "{tmp}/other"}
    changed = {name: value.format(tmp=tmp_path) for name, value in change.items()}
    with pytest.raises(UserError, match=problem.format(tmp=tmp_path)):
        job.open_job(job.ScoreConfig(**settings | changed))
    assert (tmp_path / "out" / "_plan.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", "out"}


def test_another_model_is_refused(run_folder, tmp_path):
    (tmp_path / "in.txt").write_text("good\n")
    job.open_job(job.ScoreConfig(str(run_folder), str(tmp_path / "in.txt"), str(tmp_path / "out")))
    other = tiny_litert.export(tmp_path / "other", weights=tiny_export.weights(seed=8))
    with pytest.raises(UserError, match="was begun with another --model"):
        job.open_job(job.ScoreConfig(str(other), str(tmp_path / "in.txt"), str(tmp_path / "out")))
