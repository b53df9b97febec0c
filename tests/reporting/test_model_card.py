"""The model card, read back as the hub reads it."""

import ast

import pytest
from huggingface_hub import ModelCard

from sentiment_tf.reporting import model_card


@pytest.fixture
def card(run, tmp_path):
    model_card.write(tmp_path / "README.md", run=run)
    return ModelCard.load(tmp_path / "README.md")


def test_metadata(card, run):
    data = card.data
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.license == "apache-2.0"
    assert data.language == "en"
    assert data.datasets == ["cornell-movie-review-data/rotten_tomatoes"]
    assert data.pipeline_tag == "text-classification"
    results = {result.metric_type: result for result in data.eval_results}
    assert set(results) == {"accuracy", "f1", "matthews_correlation", "roc_auc"}
    assert results["accuracy"].metric_value == run["metrics"]["after"]["accuracy"]
    assert results["accuracy"].dataset_split is None  # a packaged copy does not have the hub's splits


def test_split_is_named_where_the_hub_has_it(run, tmp_path):
    data = run["data"] | {"source": {"kind": "hub", "id": "x", "revision": "0123abc"}}
    model_card.write(tmp_path / "README.md", run=run | {"data": data})
    card = ModelCard.load(tmp_path / "README.md")
    assert {result.dataset_split for result in card.data.eval_results} == {"validation"}
    assert "revision `0123abc`" in card.text


def test_text_holds_data_settings_results_and_limits(card):
    text = card.text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Use", "## Data", "## Results", "## Exports", "## Training", "## Limits"]
    assert "| train | 400 | 3 |" in text
    assert "| learning_rate | 0.001 |" in text
    assert "2 exact duplicates were dropped." in text
    assert "saved_models/films/hf" in text
    assert "A temperature of 1.700" in text
    assert "The results after fine-tuning include it." in text
    assert "truncated to 128 tokens" in text


def test_tables_are_whole(card):
    lines = card.text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("|---")]
    assert len(starts) == 4
    for start in starts:
        assert lines[start - 2] == ""
        assert lines[start - 1].count("|") == lines[start].count("|") == lines[start + 1].count("|")


def test_own_files_and_a_local_model_claim_nothing(run, tmp_path):
    config = run["config"] | {"dataset": None, "model": str(tmp_path)}
    model_card.write(tmp_path / "README.md", run=run | {"config": config})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model is None
    assert card.data.license is None
    assert card.data.language is None
    assert card.data.datasets is None
    assert "The user's own files." in card.text


def test_license_of_another_base_model_is_taken_over(bare_run, tmp_path):
    run = bare_run | {"config": bare_run["config"] | {"model": "somebody/distilbert"}}
    model_card.write(tmp_path / "README.md", run=run, license="mit")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "somebody/distilbert"
    assert card.data.license == "mit"


def test_without_a_fitted_temperature_none_is_claimed(run, tmp_path):
    kept = {name: value for name, value in run.items() if name != "calibration"}
    model_card.write(tmp_path / "off.md", run=kept)
    at_one = run | {"calibration": {"temperature": 1.0, "ece_before": 0.1, "ece_after": 0.1}}
    model_card.write(tmp_path / "one.md", run=at_one)
    for name in ("off.md", "one.md"):
        assert "emperature" not in (tmp_path / name).read_text()


def test_class_names_are_code_whatever_they_hold(run, tmp_path):
    model_card.write(tmp_path / "README.md", run=run | {"label_names": ["a`b", "c\nd", "``e", "f"]})
    assert "as ``a`b`` or `c d` or ``` ``e ``` or `f`. Accuracy" in (tmp_path / "README.md").read_text()


def test_commands_are_quoted(run, tmp_path):
    model_card.write(tmp_path / "README.md", run=run | {"config": run["config"] | {"run_name": "my films"}})
    assert "--model='saved_models/my films' " in (tmp_path / "README.md").read_text()


def test_the_folder_in_the_example_is_a_python_literal(run, tmp_path):
    config = run["config"] | {"run_name": 'a"); print("owned'}
    model_card.write(tmp_path / "README.md", run=run | {"config": config})
    text = (tmp_path / "README.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("classify = ")]
    (call,) = ast.parse(line).body
    assert [argument.value for argument in call.value.args] == [
        "text-classification",
        'saved_models/a"); print("owned/hf',
    ]


def test_on_the_hub_the_example_names_the_repository_and_the_rest_is_kept(run, tmp_path):
    model_card.write(tmp_path / "README.md", run=run)
    card = (tmp_path / "README.md").read_text()
    uploaded = model_card.on_the_hub(card, "user/films")
    assert uploaded == card.replace('"saved_models/films/hf"', '"user/films"')
    assert uploaded != card
    assert model_card.on_the_hub("# A card of one's own", "user/films") == "# A card of one's own"


def test_the_threshold_is_in_the_text(card, run, bare_run, tmp_path):
    assert "labelled `POSITIVE` from a probability of **0.6200** on" in card.text
    assert "a precision of 92.0 % and a recall of 81.0 % of this class" in card.text
    names = {"label_names": ["bad", "`good`"], "threshold": run["threshold"]}
    model_card.write(tmp_path / "README.md", run=bare_run | names)
    assert "labelled `` `good` `` from a probability of" in (tmp_path / "README.md").read_text(encoding="utf-8")
    model_card.write(tmp_path / "README.md", run=bare_run)
    assert "from a probability of" not in (tmp_path / "README.md").read_text(encoding="utf-8")
