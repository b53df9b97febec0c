import datetime
import io
import json
import sys
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.inference import readers
from sentiment_tf.inference.readers import Broken, Row


@pytest.fixture
def read(tmp_path):
    """Writes an input and reads it: (columns, rows)."""

    def read(content, *, input_format, text_column=None):
        path = tmp_path / "input"
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content)
        with readers.open_source(str(path), input_format=input_format, text_column=text_column) as source:
            return source.columns, list(source.rows)

    return read


def numbers(rows, kind):
    return [row.number for row in rows if isinstance(row, kind)]


@pytest.mark.parametrize(
    ("content", "input_format"),
    [
        (b"Review,Sentiment\ngood,1\n", "csv"),
        (b"Review\tSentiment\ngood\t1\n", "tsv"),
        (b'{"n": 1}\n{"Review": "good", "Sentiment": "1"}\n', "jsonl"),
        (pa.table({"Review": ["good"], "Sentiment": ["1"]}), "parquet"),
    ],
)
def test_the_text_column_may_be_in_capitals(read, content, input_format):
    columns, rows = read(content, input_format=input_format)
    assert columns == ("Review", "Sentiment")
    assert rows[-1].text == "good"
    assert rows[-1].columns == {"Review": "good", "Sentiment": "1"}


def test_texts_of_the_command_line():
    source = readers.from_arguments(["good", ""])
    assert source.columns == ("text",)
    assert list(source.rows) == [Row(1, {"text": "good"}, "good"), Row(2, {"text": ""}, "")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "tsv"),
        ("a.json", "jsonl"),
        ("a.jsonl", "jsonl"),
        ("a.parquet", "parquet"),
        ("a.txt", "text"),
        ("reviews", "text"),
        ("-", "text"),
    ],
)
def test_formats_by_extension(path, expected):
    assert readers.guess_format(path) == expected


def test_lines_of_text(read):
    columns, rows = read(b"\xef\xbb\xbfgood\r\n\n  bad film \x0b \xe2\x80\xa8x\nlast", input_format="text")
    assert columns == ("text",)
    assert [row.text for row in rows] == ["good", "", "  bad film \x0b \u2028x", "last"]
    assert rows[0] == Row(1, {"text": "good"}, "good")


def test_lines_that_are_not_utf8_are_broken(read):
    _, rows = read(b"good\nb\xffd\nfilm\n", input_format="text")
    assert rows[1] == Broken(2, "not UTF-8 (byte 0xff)")
    assert numbers(rows, Row) == [1, 3]


def test_lines_have_no_columns(read):
    with pytest.raises(UserError, match="--text_column=review"):
        read(b"good\n", input_format="text", text_column="review")


def test_csv(read):
    content = '\ufeffid,review,note\r\n1,"good, ""really""\nfilm",x\r\n\r\n2,,\n'.encode()
    columns, rows = read(content, input_format="csv")
    assert columns == ("id", "review", "note")
    text = 'good, "really"\nfilm'
    assert rows == [
        Row(1, {"id": "1", "review": text, "note": "x"}, text),
        Row(2, {"id": "2", "review": "", "note": ""}, ""),
    ]


def test_csv_takes_the_column_that_is_named(read):
    _, rows = read(b"text,other\na,b\n", input_format="csv", text_column="other")
    assert rows[0].text == "b"


def test_csv_rows_that_are_broken(read):
    _, rows = read(b'text,n\ngood,1\nbad\nbad,1,2\n"b"ad,1\nb\xffd,1\nfilm,2\n"open,3\n', input_format="csv")
    assert numbers(rows, Row) == [1, 6]
    assert [(row.number, row.reason) for row in rows if isinstance(row, Broken)] == [
        (2, "1 fields, where the header has 2"),
        (3, "3 fields, where the header has 2"),
        (4, "',' expected after '\"'"),
        (5, "not UTF-8 (byte 0xff)"),
        (7, "unexpected end of data"),
    ]


def test_a_bad_byte_in_a_cell_of_several_lines_breaks_one_row(read):
    content = b'text,label\ngood,1\n"one\nbad \xff\nend of text",x\nlast,0\n'
    _, rows = read(content, input_format="csv")
    assert [row.number for row in rows] == [1, 2, 3]
    assert rows[1] == Broken(2, "not UTF-8 (byte 0xff)")
    assert rows[2].text == "last"


def test_csv_cells_may_be_longer_than_the_csv_module_likes(read):
    _, rows = read(b"text\n" + b"x" * 1_000_000 + b"\n", input_format="csv")
    assert len(rows[0].text) == 1_000_000


def test_tsv_has_no_quoting(read):
    columns, rows = read(b'sentence\tlabel\n"a "good" film\t1\n', input_format="tsv")
    assert columns == ("sentence", "label")
    assert rows == [Row(1, {"sentence": '"a "good" film', "label": "1"}, '"a "good" film')]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it has no columns"),
        (b"a,a\n1,2\n", "two columns are called 'a'"),
        (b"text;label\ngood;1\n", "its header has semicolons between the columns; save it with commas as .csv"),
        (b"b\xff,text\n", "the header cannot be read"),
        (b"id,words\n1,good\n", "pass one of id, words"),
    ],
)
def test_csv_headers_that_will_not_do(read, content, problem):
    with pytest.raises(UserError, match=problem):
        read(content, input_format="csv")


def test_a_column_that_is_not_there(read):
    with pytest.raises(UserError, match="--text_column=words: .* has no such column; pass one of text, id"):
        read(b"text,id\n", input_format="csv", text_column="words")


def test_json_lines(read):
    content = b'{"text": "good", "n": 1, "tags": ["a"]}\n\n{"other": null, "text": "bad"}\n'
    columns, rows = read(content, input_format="jsonl")
    assert columns == ("text", "n", "tags")
    assert rows == [
        Row(1, {"text": "good", "n": 1, "tags": ["a"]}, "good"),
        Row(3, {"other": None, "text": "bad"}, "bad"),
    ]


def test_json_lines_whose_first_object_has_no_text(read):
    columns, rows = read(b'{}\n{"id": 1}\n{"id": 2, "text": "good"}\n', input_format="jsonl")
    assert columns == ("id", "text")
    assert numbers(rows, Broken) == [1, 2]
    assert numbers(rows, Row) == [3]


def test_json_rows_that_are_broken(read):
    lines = [
        b"nonsense",
        b'{"text": "good"}',
        b'{"text": 3}',
        b'{"text": null}',
        b'{"n": 1}',
        b"[1]",
        b'{"text": "\xff"}',
    ]
    lines += [b"[" * 100_000, b'{"text": "film"}']
    _, rows = read(b"\n".join(lines), input_format="jsonl")
    assert numbers(rows, Row) == [2, 9]
    reasons = [row.reason for row in rows if isinstance(row, Broken)]
    assert reasons[0].startswith("not JSON")
    assert reasons[1:6] == [
        "column text holds int 3, not a text",
        "column text holds nothing, not a text",
        "column text holds nothing, not a text",
        "not a JSON object",
        "not UTF-8 (byte 0xff)",
    ]


@pytest.mark.parametrize(
    "content", [b'[{"text": "good"}]', b'\xef\xbb\xbf \n\r\n[\n  {\n    "text": "good"\n  }\n]\n', b"[]"]
)
def test_an_array_is_not_json_lines(read, content):
    with pytest.raises(UserError, match="input: is a JSON array; one object per line is expected"):
        read(content, input_format="jsonl")


def test_parquet(read):
    table = pa.table({"id": [1, 2, 3], "sentence": ["good", None, "film"]})
    columns, rows = read(table, input_format="parquet")
    assert columns == ("id", "sentence")
    assert rows[0] == Row(1, {"id": 1, "sentence": "good"}, "good")
    assert rows[1] == Broken(2, "column sentence holds nothing, not a text")
    assert rows[2].number == 3


def test_parquet_rows_that_python_cannot_hold_are_broken(read):
    count = 3000  # several batches
    texts, notes, days = ([value] * count for value in (b"good", b"x", 0))
    texts[1], notes[1500], days[2] = b"b\xe9d", b"caf\xe9", 2**31 - 1
    table = pa.table(
        {
            "text": pa.array(texts, pa.binary()).view(pa.string()),
            "note": pa.array(notes, pa.binary()).view(pa.string()),
            "day": pa.array(days, pa.int32()).view(pa.date32()),
        }
    )
    columns, rows = read(table, input_format="parquet")
    assert columns == ("text", "note", "day")
    assert [row.number for row in rows] == list(range(1, count + 1))
    assert [(row.number, row.reason.split(" (")[0]) for row in rows if isinstance(row, Broken)] == [
        (2, "column text is not UTF-8"),
        (3, "column day holds a value that Python cannot represent"),
        (1501, "column note is not UTF-8"),
    ]
    assert rows[1].reason.endswith("(byte 0xe9)")
    assert rows[0].columns == {"text": "good", "note": "x", "day": datetime.date(1970, 1, 1)}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string_view(), pa.large_string()])
def test_parquet_texts_of_every_type(read, kind):
    columns, rows = read(pa.table({"text": pa.array([b"good", b"film"]).cast(kind)}), input_format="parquet")
    assert rows == [Row(1, {"text": "good"}, "good"), Row(2, {"text": "film"}, "film")]


def test_parquet_texts_of_bytes_that_are_no_text(read):
    _, rows = read(pa.table({"text": pa.array([b"good", b"\xff"])}), input_format="parquet")
    assert rows[1] == Broken(2, "column text is not UTF-8 (byte 0xff)")


def test_parquet_with_two_columns_of_one_name(read):
    table = pa.table([["good"], ["film"], [1]], names=["text", "text", "label"])
    with pytest.raises(UserError, match=r"two columns are called 'text' \(text, text, label\); rename one"):
        read(table, input_format="parquet")


def test_compressed_files_are_refused(tmp_path):
    with (
        pytest.raises(UserError, match=r"--input=.*a.csv.gz: is compressed \(.gz\); unpack it"),
        readers.open_source(str(tmp_path / "a.csv.gz"), input_format="text", text_column=None),
    ):
        pass


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"PK\x03\x04", "a zip archive or a spreadsheet"),
        (b"\xd0\xcf\x11\xe0", "an old Office document"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PAR1", "Parquet"),
        (b"\x1f\x8b\x08", "compressed"),
    ],
)
@pytest.mark.parametrize("input_format", ["text", "csv", "tsv", "jsonl"])
def test_other_kinds_of_files_are_refused(read, beginning, kind, input_format):
    with pytest.raises(UserError, match=f"is {kind}, not text; save its rows as CSV"):
        read(beginning, input_format=input_format)


def test_parquet_that_is_none(read):
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read(b"PAR1 but not really", input_format="parquet")


def test_parquet_whose_rows_are_damaged(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"film {number}" for number in range(5000)]}), path, use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    damaged[4:2000] = bytes(1996)
    path.write_bytes(damaged)
    with (
        readers.open_source(str(path), input_format="parquet", text_column=None) as source,
        pytest.raises(UserError, match="damaged after row 0"),
    ):
        list(source.rows)


@pytest.mark.parametrize("input_format", ["text", "csv", "parquet"])
def test_files_that_are_not_there(tmp_path, input_format):
    with (
        pytest.raises(UserError, match=r"--input=.*none: .*No such file"),
        readers.open_source(str(tmp_path / "none"), input_format=input_format, text_column=None),
    ):
        pass


def test_stdin(monkeypatch):
    content = json.dumps({"text": "good"}).encode()
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
    with readers.open_source("-", input_format="jsonl", text_column=None) as source:
        assert source.name == "stdin"
        assert [row.text for row in source.rows] == ["good"]
    assert not sys.stdin.buffer.closed


def test_rows_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "many.txt"
    path.write_bytes(b"good\n" * 500_000)
    with open(path, "rb") as file:
        _, rows = readers._read_text(file, None, "many")
        next(rows)
        assert file.tell() < 100_000
