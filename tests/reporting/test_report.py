"""The page: what stands in it, what does not, and that it is sound HTML."""

import dataclasses
import importlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sentiment_tf.evaluation import comparison, metrics
from sentiment_tf.evaluation.attributions import Word
from sentiment_tf.reporting import report

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Gathers what a test asks about, and refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.headings = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self.open[-1], data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(run, rows, words, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(path, run=run, rows=rows, words=words)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_headline_and_numbers(html, run):
    title = re.search("<title>(.*?)</title>", html).group(1)
    before, after = (f"{100 * run['metrics'][when]['accuracy']:.1f} %" for when in ("before", "after"))
    assert title == f"films: {before} → {after}"
    assert "148,610 of 22,713,986 parameters" in html
    assert "A temperature of 1.70" in html
    assert "saved_models/films" in html
    assert "1 min 02 s" in html


def test_the_gain_stands_beside_its_test_with_its_interval(page, rows):
    found = comparison.compare(rows.logits_before, rows.logits_after, rows.labels)
    low, high = (f"{100 * edge:+.1f}" for edge in found["interval"])
    said = (
        f"a difference in accuracy of {100 * found['accuracy_difference']:+.1f} points (95 % interval {low} to {high})."
    )
    assert said in " ".join(page.text)


@pytest.mark.usefixtures("without_pictures")
def test_figures_from_before_the_calibration_say_so(page, bare_run, rows, tmp_path):
    text = " ".join("".join(page.text).split())
    assert "“After” includes the temperature of the calibration, as the exports do." in text
    assert "Losses during training are from before the calibration" in text
    assert "changes the loss of the trained model from 0.510 to 0.420." in text
    report.write(tmp_path / "report.html", run=bare_run, rows=rows)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "temperature of the calibration" not in html
    assert "before the calibration" not in html
    assert "bfloat16" not in html


@pytest.mark.usefixtures("without_pictures")
def test_numbers_of_a_run_in_bfloat16_say_so(bare_run, rows, tmp_path):
    report.write(tmp_path / "report.html", run=bare_run | {"compute_dtype": "bfloat16"}, rows=rows)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Measured in bfloat16; the exports calculate in float32" in html


def test_rows_are_named_by_file_and_number(page):
    text = "".join(page.text)
    assert "(films.csv, row 101)" in text  # a mistake
    assert "validation: films.csv, row 101" in text  # a leak, and where it stands otherwise
    assert "train: films.csv, row 9" in text


@pytest.mark.usefixtures("without_pictures")
def test_one_accuracy_has_one_interval(bare_run, rows, tmp_path):
    """Of 40 rows all right, the headline, the table and the complete texts say the same."""
    logits = np.eye(2)[rows.labels]
    result = metrics.evaluate(logits, rows.labels, resamples=50)
    changed = dataclasses.replace(rows, logits_before=logits, logits_after=logits, truncated=np.zeros(40, bool))
    run = bare_run | {"metrics": {"before": result, "after": result}}
    report.write(tmp_path / "report.html", run=run, rows=changed)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "95 % interval of the result: 91.2 to 100.0 %" in html  # Wilson: 1 / (1 + 1.96^2 / 40)
    assert html.count("100.0 %<small>91.2 to 100.0</small>") == 3  # before, after, complete texts
    assert "100.0 to 100.0" not in html
    assert "1.000 to 1.000" not in html


@pytest.mark.usefixtures("without_pictures")
def test_twenty_classes_come_with_the_pairs_that_are_confused(bare_run, rows, tmp_path):
    labels = np.arange(40) % 20
    predicted = labels.copy()
    predicted[[0, 20]] = 7
    logits = np.eye(20)[predicted]
    result = metrics.evaluate(logits, labels, resamples=10)
    names = [f"class number {number}" for number in range(20)]
    run = bare_run | {"label_names": names, "metrics": {"before": result, "after": result}}
    changed = dataclasses.replace(rows, labels=labels, logits_before=logits, logits_after=logits)
    report.write(tmp_path / "report.html", run=run, rows=changed)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = "".join(page.text)
    assert "Most frequent confusions" in text
    row = ["class number 0", "class number 7", "2", "100.0 %"]
    start = next(n for n in range(len(page.text)) if page.text[n : n + 4] == row)
    assert start


@pytest.mark.usefixtures("without_pictures")
def test_a_temperature_that_was_not_fitted_is_not_claimed(run, rows, tmp_path):
    calibration = {"temperature": 1.0, "ece_before": 0.03, "ece_after": 0.03}
    report.write(tmp_path / "report.html", run=run | {"calibration": calibration}, rows=rows)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The temperature stays at 1" in html
    assert "fitted on validation rows" not in html


@pytest.mark.usefixtures("without_pictures")
def test_a_folder_with_a_space_is_quoted_in_the_command(bare_run, rows, tmp_path):
    run = bare_run | {"config": bare_run["config"] | {"output_dir": "my models"}}
    report.write(tmp_path / "report.html", run=run, rows=rows)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "--model='my models/films' " in " ".join(page.text)


def test_the_python_example_names_a_function_that_exists(page):
    text = "".join(page.text)
    module, name = re.search(r"import (sentiment_tf) as (\w+)", text).groups()
    function = re.search(rf"{name}\.(\w+)\(", text).group(1)
    assert callable(getattr(importlib.import_module(module), function))


def test_every_section_is_there_and_can_be_jumped_to(page):
    headings = [text for tag, text in page.headings if tag == "h2"]
    assert headings == [
        "Before and after",
        "Training",
        "Depth search",
        "Labels that look wrong",
        "Calibration and accuracy by kind of text",
        "Decision threshold",
        "Most confident mistakes",
        "Leak audit",
        "Use the model",
        "Run metadata",
    ]
    assert [tag for tag, _ in page.headings].count("h1") == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links
    assert all(link[0] == "#" and link[1:] in ids for link in links)


def test_pictures_are_described_and_refer_to_themselves_only(page, html):
    pictures = page.all("svg")
    assert len(pictures) == 11
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {use["href"][1:] for use in page.all("use")} <= ids
    assert set(re.findall(r"url\(#(.*?)\)", html)) <= ids


def test_nothing_comes_from_elsewhere(page, html):
    for tag, attributes in page.tags:
        for name in ("src", "href", "data", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in html
    assert page.all("script") == []
    assert page.all("img") == []


def test_texts_are_escaped_and_printable(html):
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in html
    assert "bell \ufffd and half a pair \ufffd" in html


def test_leaks_come_with_the_accuracy_of_the_other_rows(html, rows):
    assert "<strong>2 of 40 validation texts</strong>" in html
    # Rows 0 and 5 are left out; 0 is one of the three mistakes.
    assert f"<strong>{36 / 38:.1%}</strong>".replace("%", " %") in html
    assert "on 38 texts" in html


@pytest.mark.usefixtures("without_pictures")
def test_words_are_marked_by_what_they_weigh_and_texts_stay_whole(run, rows, tmp_path):
    text = "not <b>bad</b>, good & short"
    words = [Word(0, 3, "not", -0.52), Word(7, 10, "bad", 1.0), Word(16, 20, "good", 0.04), Word(23, 28, "short", 0.3)]
    changed = dataclasses.replace(rows, texts=[text, *rows.texts[1:]])
    report.write(tmp_path / "report.html", run=run, rows=changed, words={0: words})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (
        '<q dir="auto"><span class="against s2" title="-0.52">not</span> &lt;b&gt;'
        '<span class="for s4" title="+1.00">bad</span>&lt;/b&gt;, good &amp; '
        '<span class="for s1" title="+0.30">short</span></q>'
    ) in html


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("length", [420, 421, 2000])
def test_a_long_text_is_divided_between_words_or_inside_one(run, rows, tmp_path, length):
    text = ("word " * 400)[:length]
    words = [Word(start, start + 4, "word", 1.0) for start in range(0, length - 3, 5)]
    changed = dataclasses.replace(rows, texts=[text, *rows.texts[1:]])
    report.write(tmp_path / "report.html", run=run, rows=changed, words={0: words})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    shown = "".join(page.text).replace("… ", "").replace(" …", "")
    assert text in shown
    marked = [each for each in page.all("span") if each.get("class") == "for s4"]
    assert len(marked) == 2 * len(words)  # the row is a mistake, and training broke it


@pytest.mark.usefixtures("without_pictures")
def test_the_threshold_says_where_it_comes_from(run, rows, tmp_path):
    kinds = {
        "auto": "This threshold has the best macro F1 on the validation rows.",
        "recall:0.9": "It has a recall of 0.9 or more on the validation rows, and of all such thresholds the best",
        "0.62": "in every export. The accuracies, F1 scores and confusion matrix after training are counted with it",
    }
    for rule, said in kinds.items():
        changed = run | {"threshold": run["threshold"] | {"rule": rule}}
        report.write(tmp_path / "report.html", run=changed, rows=rows)
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert said in " ".join("".join(page.text).split())
    missed = run | {"threshold": run["threshold"] | {"reached": False}}
    report.write(tmp_path / "report.html", run=missed, rows=rows)
    assert "No threshold has a precision of 0.9" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("without_pictures")
def test_examples_show_what_the_threshold_decides(run, rows, tmp_path):
    """Row 3 is right by the larger probability; by its threshold the model gives the other class."""
    predicted = rows.logits_after.argmax(axis=1)
    predicted[3] = 0
    report.write(tmp_path / "report.html", run=run, rows=dataclasses.replace(rows, predicted=predicted))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "a film of kind 3" in page.text


@pytest.mark.usefixtures("without_pictures")
def test_no_leaks_is_said(run, rows, tmp_path):
    leaks = run["leaks"] | {"leaked": {"exact": 0, "total": 0}, "leaked_rows": [], "kinds": ["exact"]}
    report.write(tmp_path / "report.html", run=run | {"leaks": leaks}, rows=rows)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "None of the 40 validation texts is in another split." in html
    assert "too large to search for near ones" in html


def test_sections_without_data_are_absent(bare_run, rows, tmp_path):
    report.write(tmp_path / "report.html", run=bare_run, rows=rows)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    headings = [text for _, text in page.headings]
    for absent in (
        "Decision threshold",
        "Do these words matter?",
        "Training",
        "Depth search",
        "Leak audit",
        "Export",
        "Data",
        "Times",
        "Versions",
    ):
        assert absent not in headings
    assert "A temperature of" not in " ".join(page.text)
    assert len(page.all("svg")) == 6


def test_three_classes_and_a_name_with_markup(bare_run, rows, tmp_path):
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 3
    logits = generator.normal(size=(40, 3)).astype(np.float32)
    result = metrics.evaluate(logits, labels, resamples=10)
    run = bare_run | {
        "label_names": ["<b>bad</b>", "$x$", "good & great"],
        "metrics": {"before": result, "after": result},
    }
    changed = dataclasses.replace(rows, labels=labels, logits_before=logits, logits_after=logits)
    report.write(tmp_path / "report.html", run=run, rows=changed)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.all("b") == []
    assert "<b>bad</b>" in page.text
    assert "$x$" in page.text


def test_one_class_only_has_no_roc_curve(bare_run, run, rows, tmp_path):
    labels = np.ones(40, int)
    result = metrics.evaluate(rows.logits_after, labels, resamples=10)
    run = bare_run | {"metrics": {"before": result, "after": result}, "threshold": run["threshold"]}
    report.write(tmp_path / "report.html", run=run, rows=dataclasses.replace(rows, labels=labels))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "ROC curve" not in html
    assert "ROC-AUC" not in html
