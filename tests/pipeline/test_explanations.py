"""What a run explains and decides, and what its folder says about it."""

import json
import re

import numpy as np
import pytest

import sentiment_tf as st
from tests.support.commands import own_flags, record_of, refused, succeeded, train_here, write_csv

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(own, tmp_path_factory):
    """A run with a threshold, on labels that are wrong now and then: (folder, log)."""
    folder = tmp_path_factory.mktemp("explained")
    noisy = write_csv(folder / "noisy.csv", 80, seed=3, label=lambda number: str(int(number)))
    lines = noisy.read_text().splitlines()
    for number in (5, 14, 33):
        lines[number] = lines[number][:-1] + str(1 - int(lines[number][-1]))
    noisy.write_text("\n".join(lines) + "\n")
    flags = own_flags(own, folder, validation_file=noisy, threshold_for="precision:0.8", precision="float32")
    printed = succeeded(train_here(*flags, "--exports=saved_model,hf,litert"))
    return folder / "run", printed


def test_run_json_says_how_far_explanations_can_be_trusted(run):
    explained = record_of(run[0])["explanations"]
    assert explained["method"] == "integrated gradients"
    assert explained["texts"] == 16
    assert 0 <= explained["largest_missed"] < 0.1
    curve = explained["deletion"]
    assert curve["share"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert curve["top_words"][0] == curve["random_words"][0]
    assert np.mean(curve["top_words"][1:]) < np.mean(curve["random_words"][1:])


def test_the_words_of_the_most_confident_mistakes_are_marked(run):
    page = (run[0] / "report.html").read_text(encoding="utf-8")
    mistakes = page[page.index('id="mistakes"') : page.index("Do these words matter?")]
    assert len(re.findall(r'<span class="(?:for|against) s[1-4]" title="[+-]\d', mistakes)) >= 3


def test_the_python_api_explains(run):
    model = st.load(run[0], engine="tensorflow")
    text = "a gripping film , dull it isn't"
    (found,) = model.explain([text])
    assert found.label == model.predict([text])[0][0]
    assert [word.text for word in found.words] == ["a", "gripping", "film", ",", "dull", "it", "isn't"]
    with pytest.raises(st.UserError, match="--engine=litert has no gradients; pass --engine=tensorflow"):
        st.load(run[0]).explain([text])


def test_the_threshold_is_recorded_and_decides_everywhere(run):
    folder, _ = run
    record = record_of(folder)
    threshold = record["threshold"]
    assert (threshold["rule"], threshold["reached"]) == ("precision:0.8", True)
    assert threshold["precision"] >= 0.8
    assert threshold["reported"] == {name: pytest.approx(threshold[name]) for name in threshold["reported"]}
    (_, false_alarms), (_, hits) = record["metrics"]["after"]["confusion"]
    assert hits / (hits + false_alarms) == pytest.approx(threshold["precision"])
    for config in ("hf/config.json", "litert/config.json"):
        assert json.loads((folder / config).read_text())["threshold"] == threshold["value"]
    model = st.load(folder)
    assert model.threshold == threshold["value"]
    measured = st.evaluate(model, st.DataSettings(files={"test": str(folder.parent / "noisy.csv")}))
    assert measured["confusion"] == record["metrics"]["after"]["confusion"]


def test_report_and_card_name_the_threshold(run):
    folder, _ = run
    value = f"{record_of(folder)['threshold']['value']:.4f}"
    page, card = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "hf/README.md"))
    assert f"from a probability of <strong>{value}</strong> on" in page
    assert "precision of 0.8 or more on the validation rows" in page
    assert f"from a probability of **{value}** on" in card


def test_a_threshold_is_for_two_classes(own, tmp_path):
    lines = (own["train"]).read_text().splitlines()
    lines = [lines[0], *(f"{line[:-1]}{number % 3}" for number, line in enumerate(lines[1:]))]
    (tmp_path / "three.csv").write_text("\n".join(lines) + "\n")
    data = f"--train_file={tmp_path}/three.csv", f"--model={own['model']}", f"--output_dir={tmp_path}/m"
    refused(train_here(*data, "--threshold=auto"), "--threshold=auto: is for two classes; the data has 3; leave it out")
    assert not list((tmp_path / "m").glob("*"))
