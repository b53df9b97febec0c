"""Files that nobody wrote by hand: the readers give rows or one mistake, and read back what was written."""

import csv
import io
import json

import datasets
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment_tf.data import loading
from sentiment_tf.data.readers import Raw
from sentiment_tf.data.readers import read_file as read_for_training
from sentiment_tf.errors import UserError
from sentiment_tf.inference import readers

# Bytes of which the formats' own signs are many.
SIGNS = st.sampled_from([*'",\t\n\r{}[]:\\ab0-', "text", "label", '{"text": "a"}\n', "é", "\x00", "\u2028", "\ufeff"])
CONTENT = st.binary(max_size=300) | st.lists(SIGNS | st.binary(max_size=3), max_size=40).map(
    lambda parts: b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
)
WITH_HEADER = CONTENT | CONTENT.map(lambda content: b"text,label\n" + content)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def rows_of(path, input_format):
    with readers.open_source(str(path), input_format=input_format, text_column=None) as source:
        return list(source.rows)


@pytest.mark.parametrize("input_format", ["text", "csv", "tsv", "jsonl", "parquet"])
@given(content=WITH_HEADER)
def test_predict_reads_rows_or_says_what_is_wrong(folder, input_format, content):
    path = folder / "input"
    path.write_bytes(content)
    try:
        rows = rows_of(path, input_format)
    except UserError:
        return
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers))
    assert all(isinstance(row, readers.Broken) or isinstance(row.text, str) for row in rows)


@given(texts=TEXTS)
@example(texts=["\r", "\n", '"', "a,b", " ", "\x00", "NA"])
def test_predict_reads_back_what_was_written(folder, texts):
    table = io.StringIO(newline="")
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([["id", "text"], *enumerate(texts)])
    contents = {"jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts), "csv": table.getvalue()}
    if any("\x00" in text for text in texts):
        del contents["csv"]  # which Python 3.10 cannot read
    for input_format, content in contents.items():
        (folder / "written").write_bytes(content.encode())
        assert [row.text for row in rows_of(folder / "written", input_format)] == texts


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "parquet"])
@settings(max_examples=25)
@given(content=WITH_HEADER)
@example(content=b'text,label\n"""\x80')  # malformed before it is found not to be UTF-8
def test_training_reads_rows_or_says_what_is_wrong(folder, extension, content):
    path = folder / f"train.{extension}"
    path.write_bytes(content)
    try:
        raw = read_for_training(path)
    except UserError:
        return
    assert isinstance(raw, Raw)
    assert raw.rows.column_names == ["text", "label"]


@settings(max_examples=25)
@given(texts=TEXTS, labels=st.lists(st.sampled_from(["bad", "good", "1", "", "ba\td"]), min_size=8, max_size=8))
def test_training_learns_from_what_was_written(folder, texts, labels):
    table = io.StringIO(newline="")
    pairs = list(zip(texts, labels, strict=False))
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([["text", "label"], *pairs])
    (folder / "own.csv").write_bytes(table.getvalue().encode())
    try:
        splits = loading.load(loading.DataSettings(files={"train": str(folder / "own.csv")}))
    except UserError:
        return
    names = {splits.label_names[number] for rows in splits.rows.values() for number in rows["label"]}
    assert names <= {label for _, label in pairs}
