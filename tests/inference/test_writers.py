import csv
import datetime
import io
import json
import sys

import numpy as np
import pytest

from sentiment_tf.evaluation.attributions import Word
from sentiment_tf.inference import writers
from sentiment_tf.inference.readers import Row

LABELS = ("NEGATIVE", "POSITIVE")
NEEDS_NUL = pytest.mark.skipif(sys.version_info < (3, 11), reason="this csv module reads no NUL")
PROBABILITIES = np.array([0.12345678, 0.87654322], np.float32)


def layout(output_format, columns=("text",)):
    return writers.layout(output_format, columns=columns, label_names=LABELS)


def record(form, columns, text=None):
    return form.record(Row(1, columns, text or columns["text"]), "POSITIVE", PROBABILITIES)


def test_json_puts_the_answer_behind_the_rows_own_columns():
    line = record(layout("json", ("id", "text")), {"id": 7, "text": "é"})
    assert (
        line
        == (
            '{"id": 7, "text": "é", "label": "POSITIVE", "probability": 0.876543, '
            '"probabilities": {"NEGATIVE": 0.123457, "POSITIVE": 0.876543}}\n'
        ).encode()
    )


def test_json_keeps_what_it_has_no_type_for_and_half_characters():
    line = record(layout("json"), {"text": "half \ud83d", "when": datetime.date(2024, 2, 29)})
    assert json.loads(line)["when"] == "2024-02-29"
    assert json.loads(line)["text"] == "half \ud83d"


NOT_FINITE = {"text": "x", "stars": float("nan"), "more": [{"low": -float("inf")}, 1.5]}


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_numbers_that_json_has_not_are_null(output_format):
    def refuse(name):
        raise AssertionError(name)

    form = layout(output_format, ("text", "stars", "more"))
    line = record(form, NOT_FINITE)
    if output_format == "json":
        answer = json.loads(line, parse_constant=refuse)
        assert (answer["stars"], answer["more"]) == (None, [{"low": None}, 1.5])
    else:
        assert next(csv.reader([line.decode()]))[2] == '[{"low": null}, 1.5]'
    assert form.belongs(line, Row(1, NOT_FINITE, "x"))


def test_json_written_with_a_bare_nan_is_still_known():
    answer = {"text": "x", "stars": float("nan"), "label": "POSITIVE", "probability": 1, "probabilities": {}}
    line = json.dumps(answer).encode() + b"\n"
    assert layout("json", ("text", "stars")).belongs(line, Row(1, {"text": "x", "stars": float("nan")}, "x"))


def test_csv_puts_the_answer_behind_the_rows_own_columns():
    form = layout("csv", ("id", "text"))
    assert form.header == b"id,text,label,probability,probability_NEGATIVE,probability_POSITIVE\n"
    assert record(form, {"id": "7", "text": "good"}) == b"7,good,POSITIVE,0.876543,0.123457,0.876543\n"


WORDS = (Word(0, 4, "good", 1.2345678), Word(5, 8, "but", -0.004), Word(9, 13, "dull", -0.5))


def explained(output_format, columns=None, **settings):
    columns = columns or {"text": "good but dull"}
    form = writers.layout(output_format, columns=tuple(columns), label_names=LABELS, explain=True, **settings)
    row = Row(1, columns, columns["text"])
    line = form.record(row, "POSITIVE", PROBABILITIES, WORDS)
    assert form.belongs(line, row)
    assert not form.belongs(line, Row(1, columns | {"text": "else"}, "else"))
    assert form.answer(line, row) == ("POSITIVE", pytest.approx(0.87654, abs=1e-4))
    return form, line


def test_json_holds_every_word_with_its_place():
    _, line = explained("json")
    assert list(json.loads(line)) == ["text", "label", "probability", "probabilities", "words"]
    assert json.loads(line)["words"][:2] == [
        {"start": 0, "end": 4, "text": "good", "weight": 1.234568},
        {"start": 5, "end": 8, "text": "but", "weight": -0.004},
    ]


def test_csv_holds_the_top_words():
    form, line = explained("csv")
    assert form.header == b"text,label,probability,probability_NEGATIVE,probability_POSITIVE,words\n"
    assert line == b"good but dull,POSITIVE,0.876543,0.123457,0.876543,good +1.23; dull -0.50; but -0.00\n"


def test_text_holds_the_top_words_before_the_text():
    assert explained("text")[1] == b"POSITIVE\t0.8765\tgood +1.23; dull -0.50; but -0.00\tgood but dull\n"


def test_text_on_a_terminal_colours_the_words_that_weigh():
    form = writers.layout("text", columns=("text",), label_names=LABELS, explain=True, colour=True)
    line = form.record(Row(1, {}, "good but dull"), "POSITIVE", PROBABILITIES, WORDS).decode()
    assert line.endswith("\t\x1b[1;32mgood\x1b[0m but \x1b[1;31mdull\x1b[0m\n")


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_a_column_called_words_is_kept(output_format):
    form, line = explained(output_format, {"text": "good but dull", "words": "three"})
    assert b"three" in line
    assert b"predicted_words" in form.header + line


def test_the_probability_is_that_of_the_label():
    """With a threshold the label need not be the likelier one."""
    row = Row(1, {"text": "x"}, "x")
    assert layout("text").record(row, "NEGATIVE", PROBABILITIES) == b"NEGATIVE\t0.1235\tx\n"
    assert json.loads(layout("json").record(row, "NEGATIVE", PROBABILITIES))["probability"] == 0.123457


TEXTS = ['a "b", c', "two\nlines", "carriage\rreturn", "", "=1+1", " x ", "\ud83d"]


@pytest.mark.parametrize("text", [*TEXTS[:-1], pytest.param("\x00", marks=NEEDS_NUL)])
def test_csv_cells_come_back_as_they_went_in(text):
    form = layout("csv", ("text", "note"))
    line = record(form, {"text": text, "note": None}, text="any")
    assert next(csv.reader(io.StringIO(line.decode(), newline="")))[:2] == [text, ""]


@pytest.mark.parametrize("text", [*TEXTS, "\x00"])
def test_csv_records_of_odd_cells_know_their_rows(text):
    form, row = layout("csv", ("text", "note")), Row(1, {"text": text, "note": None}, text)
    line = form.record(row, "POSITIVE", PROBABILITIES)
    assert form.belongs(line, row)
    assert not form.belongs(line, Row(1, {"text": text, "note": "x"}, text))
    assert not form.belongs(b"\x00\xff\n", row)


def test_csv_writes_lists_as_json():
    line = record(layout("csv", ("text", "tags")), {"text": "x", "tags": ["é", 1]})
    assert next(csv.reader([line.decode()]))[1] == '["é", 1]'


def test_text_is_one_line_each():
    assert record(layout("text"), {"text": " two\n\tlines "}) == b"POSITIVE\t0.8765\ttwo lines\n"


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_columns_of_the_input_are_never_overwritten(output_format):
    form = layout(output_format, ("text", "label"))
    line = record(form, {"text": "x", "label": "gold"})
    rows = [json.loads(line)] if output_format == "json" else csv.DictReader(io.StringIO((form.header + line).decode()))
    (row,) = rows
    assert row["label"] == "gold"
    assert row["predicted_label"] == "POSITIVE"
    assert float(row["predicted_probability"]) == 0.876543


def test_rows_that_a_layout_cannot_hold():
    row = Row(2, {"text": "x", "label": "gold", "new": 1}, "x")
    assert "column label" in layout("json").refuse(row)
    assert "column label" in layout("csv").refuse(row)
    assert "column new" in layout("csv", ("text", "label")).refuse(row)
    assert layout("json", ("text", "label")).refuse(row) is None
    assert layout("text").refuse(row) is None


@pytest.mark.parametrize("output_format", writers.FORMATS)
def test_records_know_their_rows(output_format):
    form = layout(output_format, ("id", "text"))
    row = Row(1, {"id": 1, "text": 'a\n"b"'}, 'a\n"b"')
    line = form.record(row, "POSITIVE", PROBABILITIES)
    assert form.belongs(line, row)
    assert not form.belongs(line, Row(1, {"id": 1, "text": "c"}, "c"))
    assert not form.belongs(b"something else\n", row)


@pytest.mark.parametrize(
    ("output_format", "line"),
    [
        ("json", '{"text": "good"}'),
        ("json", '{"text": "good", "label": "POSITIVE"}'),
        ("json", "123"),
        ("json", "[1]"),
        ("json", "null"),
        ("json", "[" * 100_000),
        ("text", "good"),
        ("text", "1\t0.5\tgood"),
        ("text", "POSITIVE\tgood"),
    ],
)
def test_lines_without_an_answer_belong_to_no_row(output_format, line):
    row = Row(1, {"text": "good"}, "good")
    assert not layout(output_format).belongs(line.encode() + b"\n", row)


@pytest.mark.parametrize(("output_format", "digits"), [("json", 6), ("csv", 6), ("text", 4)])
def test_a_records_answer_is_read_back(output_format, digits):
    form = layout(output_format, ("text", "id"))
    row = Row(1, {"text": 'a "quoted", text', "id": 7}, 'a "quoted", text')
    answer = form.answer(form.record(row, "POSITIVE", PROBABILITIES), row)
    assert answer == ("POSITIVE", round(0.87654322, digits))


FORMULAS = ["=1+1", "+1+1", "-1+cmd|'/C calc'!A0", "@SUM(1)", "\t=1", " =1", "\r", "＝1+1", "-", "=", "\n=1"]
NUMBERS_AND_WORDS = ["-1.5", "+3", "1-1", "a=b", "", "'=1", "x@y", "-1e-3"]


@pytest.mark.parametrize("text", [*FORMULAS, *NUMBERS_AND_WORDS])
def test_safe_csv_puts_an_apostrophe_before_formulas_alone(text):
    form, row = layout("safe_csv", ("text", "note")), Row(1, {"text": text, "note": "n"}, text)
    line = form.record(row, "POSITIVE", PROBABILITIES)
    cell, *rest = next(csv.reader(io.StringIO(line.decode(), newline="")))
    assert cell == (f"'{text}" if text in FORMULAS else text)
    assert rest == ["n", "POSITIVE", "0.876543", "0.123457", "0.876543"]
    assert form.belongs(line, row)
    assert form.answer(line, row) == ("POSITIVE", 0.876543)


def test_safe_csv_holds_no_formula_in_its_header_or_its_labels():
    form = writers.layout("safe_csv", columns=("=cmd", "text"), label_names=("=bad", "good"))
    assert form.header == b"'=cmd,text,label,probability,probability_=bad,probability_good\n"
    row = Row(1, {"=cmd": "x", "text": "y"}, "y")
    line = form.record(row, "=bad", np.array([0.75, 0.25]))
    assert line == b"x,y,'=bad,0.75,0.75,0.25\n"
    assert form.answer(line, row) == ("=bad", 0.75)
