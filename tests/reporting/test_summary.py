"""The table for the terminal, and how numbers are written."""

import io

import pytest

from sentiment_tf.reporting import formatting, summary

BEFORE = {"examples": 1200, "accuracy": 0.5, "loss": 0.7, "mcc": None, "intervals": {"accuracy": [0.47, 0.53]}}
AFTER = {"examples": 1200, "accuracy": 0.764, "loss": 0.512, "mcc": 0.53, "intervals": {}}


def test_before_and_after_side_by_side():
    assert summary.table({"before": BEFORE, "after": AFTER}).splitlines() == [
        "                      before                  after   change",
        "Accuracy              50.0 %  [47.0 to 53.0]  76.4 %  +26.4",
        "Matthews correlation       –                   0.530",
        "Loss (cross-entropy)   0.700                   0.512  -0.188",
        "Examples              1,200                   1,200",
    ]


def test_one_column_has_no_change():
    lines = summary.table({"films": AFTER}).splitlines()
    assert lines[0].split() == ["films"]
    assert lines[1].split() == ["Accuracy", "76.4", "%"]


def test_colour_marks_what_became_better_and_worse():
    worse = BEFORE | {"loss": 0.9, "accuracy": 0.6}
    lines = summary.table({"before": BEFORE, "after": worse}, colour=True).splitlines()
    assert "\x1b[32m+10.0 \x1b[0m" in lines[1]
    assert "\x1b[31m+0.200\x1b[0m" in lines[2]
    assert "\x1b" not in summary.table({"before": BEFORE, "after": worse})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert formatting.wants_colour(Terminal())
    assert not formatting.wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "")
    assert not formatting.wants_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not formatting.wants_colour(Terminal())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds, words):
    assert formatting.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(None, "–"), (512, "512 B"), (999_999, "1.0 MB"), (83_900_000, "83.9 MB"), (5e12, "5000.0 GB")]
)
def test_size(count, words):
    assert formatting.size(count) == words


def test_less_loss_is_better_and_a_change_too_small_to_show_is_neither():
    assert formatting.improved("loss", 0.7, 0.6) is True
    assert formatting.improved("accuracy", 0.7, 0.6) is False
    assert formatting.improved("accuracy", 0.7, 0.70001) is None
    assert formatting.improved("mcc", None, 0.5) is None


def test_what_rounds_to_zero_has_no_sign():
    assert formatting.value("mcc", -0.0001) == "0.000"
    assert formatting.value("loss", -0.0) == "0.000"
    assert formatting.interval("mcc", [-0.0004, 0.2]) == "0.000 to 0.200"
    assert formatting.change("loss", 0.5, 0.4999) == "0.000"
    assert formatting.change("accuracy", 0.5, 0.75) == "+25.0"
    assert formatting.signed(-0.04, 1) == "0.0"
    assert formatting.signed(-0.06, 1) == "-0.1"


def test_cells_stay_on_their_line():
    assert summary.aligned([["a\r\nb", "c\x1b[2J"], ["d", "e"]]).splitlines() == ["a b  c\ufffd[2J", "d    e"]


def test_verdict_names_both_models():
    comparison = {"examples": 872, "fixed": 30, "broken": 10, "p_value": 0.00221}
    comparison |= {"accuracy_difference": 20 / 872, "interval": [-0.004, 0.0367]}
    assert formatting.verdict(comparison, first="a", second="b") == (
        "b is right and a wrong on 30 of 872 texts, the reverse on 10 (McNemar's exact test, p = 0.002): "
        "a difference in accuracy of +2.3 points (95 % interval -0.4 to +3.7)"
    )
    assert formatting.p_value(0.0004) == "p < 0.001"
