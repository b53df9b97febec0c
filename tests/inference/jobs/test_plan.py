import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.inference.jobs import plan


def make(pattern, **settings):
    return plan.make(str(pattern), **({"input_format": None, "text_column": None} | settings))


def parts(made):
    return [(one.output, one.row_groups, one.first_row, one.rows) for one in made.fragments]


def test_a_text_file_is_one_fragment(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,good\n")
    (tmp_path / "b.csv").write_text("id,text\n")
    made = make(tmp_path / "*.csv")
    assert (made.input_format, made.text_column, made.columns) == ("csv", "text", ("id", "text"))
    assert parts(made) == [("a.csv", None, 1, None), ("b.csv", None, 1, None)]
    assert made.fragments[0].size == 15
    assert plan.from_json(made.as_json()) == made


def test_row_groups_are_joined_to_fragments(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "FRAGMENT_ROWS", 5)
    pq.write_table(pa.table({"Review": ["good"] * 12}), tmp_path / "a.parquet", row_group_size=3)
    pq.write_table(pa.table({"Review": ["good"] * 4}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"Review": pa.array([], pa.string())}), tmp_path / "c.parquet")
    made = make(tmp_path)
    assert made.text_column == "Review"
    assert parts(made) == [
        ("a.00000-of-00002.parquet", (0, 1), 1, 6),
        ("a.00001-of-00002.parquet", (2, 3), 7, 6),
        ("b.parquet", (0,), 1, 4),
        ("c.parquet", (0,), 1, 0),
    ]
    assert plan.from_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("name", "content", "output"),
    [
        ("a.tsv", b"text\ngood\n", "a.csv"),
        ("a.json", b'{"text": "good"}\n', "a.jsonl"),
        ("a.txt", b"good\n", "a.txt"),
        ("x/a.csv.gz", gzip.compress(b"text\ngood\n", mtime=0), "x/a.csv"),
    ],
)
def test_names_of_outputs(tmp_path, name, content, output):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    assert [one.output for one in make(tmp_path).fragments] == [output]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.csv": "text\n", "b.csv": "text,id\n"}, "a.csv has the columns text, and b.csv has text, id"),
        ({"a.csv": "text\n", "b.jsonl": '{"text": ""}\n'}, "a.csv is csv and b.jsonl is jsonl"),
        ({"a.json": '{"text": ""}\n', "a.jsonl": '{"text": ""}\n'}, "would both be written to a.jsonl; rename one"),
        (
            {"a.csv": "words\n"},
            "no text column found in a.csv (looked for text, sentence, review, content, comment, tweet, message, "
            "body); pass one of words",
        ),
        ({"a.parquet": "PAR?"}, "a.parquet: not a readable Parquet file"),
        ({"a.csv": ""}, "every file is empty"),
        ({"a.csv.gz": "text\n"}, "--input=a.csv.gz: "),
    ],
)
def test_mistakes(tmp_path, files, problem):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as raised:
        make(tmp_path)
    assert problem in raised.value.problems[0]
