"""The registry of data sets, and that nothing else needs to change for another one."""

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from sentiment_tf.data import registry
from sentiment_tf.errors import UserError
from tests.support import hub

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", registry.DATASETS)
def test_entry_is_complete_and_consistent(name):
    spec = registry.DATASETS[name]
    assert spec.name == name
    assert spec.hub_id.count("/") == 1
    assert len({label.casefold() for label in spec.label_names}) == len(spec.label_names) >= 2
    assert len(spec.language) == 2
    assert spec.title
    assert spec.domain
    assert spec.folder_layout in (None, registry.GLUE, registry.ACL_IMDB)
    assert 3 <= spec.max_length <= 512
    assert all(0 < rate <= 1 for rate in spec.learning_rates)


def test_unknown_name_is_answered_with_those_that_exist():
    assert registry.lookup("imdb").hub_id == "stanfordnlp/imdb"
    with pytest.raises(UserError, match="--dataset=sst3: unknown; known are sst2, imdb, rotten_tomatoes"):
        registry.lookup("sst3")


@pytest.mark.parametrize(
    ("dataset", "depth", "rate"),
    [
        ("sst2", 0, 5e-4),
        ("sst2", 1, 1e-4),
        ("sst2", 3, 1e-4),
        ("sst2", 4, 5e-5),
        ("sst2", 12, 5e-5),
        ("sst2", "all", 5e-5),
        ("imdb", 0, 1e-3),
        ("imdb", 1, 2e-4),
        (None, 3, 1e-4),
        (None, "all", 5e-5),
    ],
)
def test_default_learning_rate_depends_on_data_set_and_depth(dataset, depth, rate):
    assert registry.default_learning_rate(dataset, depth) == rate


def test_defaults_in_words():
    assert registry.alternatives() == "sst2, imdb or rotten_tomatoes"
    assert registry.alternatives(["imdb"]) == "imdb"
    assert registry.describe_max_lengths() == "256 for imdb, else 128"
    expected = "1e-3 for the head, 2e-4 to 5e-5 with blocks; on sst2 5e-4, 1e-4 to 5e-5"
    assert registry.describe_learning_rates() == expected


def test_offline_extra_installs_the_packages_of_the_registry():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extra = setup["options.extras_require"]["offline"].replace(" ", "").split()
    assert set(extra) == {spec.packaged.requirement for spec in registry.DATASETS.values() if spec.packaged}


@pytest.mark.slow
def test_registry_and_config_are_imported_without_heavy_packages():
    script = (
        "import sys; from sentiment_tf.data import registry, settings; from sentiment_tf.pipeline import checks;"
        "print({'tensorflow', 'datasets', 'pandas', 'transformers'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def documented_table() -> str:
    """The table of data sets in the documentation; when the registry changes, paste this."""
    lines = [
        "| `--dataset` | data | on the hub | classes | `--max_length` | `--offline` |",
        "|---|---|---|---|---|---|",
    ]
    for spec in registry.DATASETS.values():
        link = f"[{spec.hub_id}](https://huggingface.co/datasets/{spec.hub_id})"
        classes, offline = ", ".join(spec.label_names), "yes" if spec.packaged else ""
        lines.append(f"| `{spec.name}` | {spec.title} | {link} | {classes} | {spec.max_length} | {offline} |")
    return "\n".join(lines)


def test_documentation_lists_every_data_set():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert documented_table() in "\n".join(page.read_text(encoding="utf-8") for page in pages)


# What a stranger adds: a set of three classes, with columns and a configuration of its own.
SCRIPT = """
import dataclasses, json, pathlib, sys
from sentiment_tf.data import registry

registry.DATASETS["tweets"] = registry.DatasetSpec(
    name="tweets",
    hub_id="somebody/tweets",
    title="Tweets on trains",
    label_names=("AGAINST", "NONE", "FOR"),
    language="nl",
    domain="Dutch tweets",
    hub_config="stance",
    text_column="tweet_text",
    label_column="stance",
    max_length=64,
    learning_rates=(2e-3, 3e-4),
)

import numpy as np
from absl import flags
import importlib
evaluate, train = (importlib.import_module(f"sentiment_tf.{name}") for name in ("evaluate", "train"))
from sentiment_tf import config
from sentiment_tf.data import loading
from sentiment_tf.errors import UserError
from sentiment_tf.evaluation import metrics
from sentiment_tf.pipeline import checks
from sentiment_tf.reporting import model_card


def problem(**settings):
    try:
        checks.validate(config.TrainConfig(**settings))
    except UserError as error:
        return str(error)


train.define_flags(values := flags.FlagValues())
evaluate.define_flags()
asked = config.TrainConfig(dataset="tweets", head="sgd")
checks.validate(asked)
head = config.resolve(asked)
blocks = config.resolve(dataclasses.replace(asked, head=None, trainable_layers="5"))
splits = loading.load(head.data)
answers = loading.load_rows(head.data, label_names=("FOR", "AGAINST", "NONE"))
labels = loading.label_array(splits.rows[splits.report_split])
result = metrics.evaluate(np.eye(3, dtype=np.float32)[labels], labels, resamples=20)
run = {"config": dataclasses.asdict(head), "label_names": splits.label_names}
run["data"] = {"source": splits.source, "report_split": splits.report_split}
run["metrics"] = {"before": result, "after": result}
model_card.write(sys.argv[1], run=run)
print(json.dumps({
    "help": {name: values[name].help for name in ("dataset", "max_length", "learning_rate")},
    "evaluate": flags.FLAGS["dataset"].help,
    "defaults": [head.max_length, head.learning_rate, blocks.learning_rate, head.run_name],
    "unknown": problem(dataset="x"),
    "offline": problem(dataset="tweets", offline=True),
    "rows": {split: len(rows) for split, rows in splits.rows.items()},
    "names": splits.label_names,
    "source": splits.source,
    "first": splits.rows["train"][0],
    "labels": labels.tolist()[:6],
    "answers": loading.label_array(answers.rows["validation"]).tolist()[:6],
    "card": pathlib.Path(sys.argv[1]).read_text(),
}))
"""


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """What the package makes of a data set that exists in the registry alone."""
    folder = tmp_path_factory.mktemp("added")
    splits = {}
    for seed, (split, count) in enumerate({"train": 60, "validation": 30}.items()):
        texts, _ = hub.sentences(count, seed=seed)
        splits[split] = {"stance": [row % 3 for row in range(count)], "tweet_text": texts}
    features = {"stance": datasets.Value("int64"), "tweet_text": datasets.Value("string")}
    tweets = hub.dataset("somebody/tweets", splits, features, config="stance")
    with hub.HubServer(tweets) as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder / "README.md")],
            env=os.environ | server.environment(folder / "home"),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"text": splits["train"]["tweet_text"][0], "commit": tweets.commit}


@pytest.mark.slow
def test_added_set_is_in_the_flags_help(added):
    assert added["help"] == {
        "dataset": "Data set by name: sst2, imdb, rotten_tomatoes or tweets. "
        "With --data_dir: the data set that the folder holds.",
        "max_length": "Texts are truncated to this many tokens, with [CLS] and [SEP] "
        "(default: 256 for imdb, 64 for tweets, else 128).",
        "learning_rate": "Peak learning rate (default: 1e-3 for the head, 2e-4 to 5e-5 with blocks; "
        "on sst2 5e-4, 1e-4 to 5e-5; on tweets 2e-3, 3e-4).",
    }
    assert added["evaluate"] == "Data set by name: sst2, imdb, rotten_tomatoes or tweets."


@pytest.mark.slow
def test_added_set_has_its_own_defaults(added):
    assert added["defaults"] == [64, 2e-3, 3e-4, "tweets"]


@pytest.mark.slow
def test_added_set_is_in_the_errors(added):
    assert "known are sst2, imdb, rotten_tomatoes, tweets;" in added["unknown"]
    expected = (
        "--offline: --dataset=tweets has no packaged copy; imdb and rotten_tomatoes have; or pass --data_dir=FOLDER"
    )
    assert added["offline"] == expected


@pytest.mark.slow
def test_added_set_is_read_with_its_own_classes(added):
    assert added["rows"] == {"train": 60, "validation": 30}
    assert added["names"] == ["AGAINST", "NONE", "FOR"]
    assert added["first"] == {"text": added["text"], "label": 0, "row": 1}
    assert added["labels"] == [0, 1, 2, 0, 1, 2]
    assert added["answers"] == [1, 2, 0, 1, 2, 0]  # a model that has the same classes in another order
    source = added["source"]
    assert (source["kind"], source["id"], source["revision"]) == ("hub", "somebody/tweets", added["commit"])
    assert source["columns"] == ["tweet_text", "stance"]


@pytest.mark.slow
def test_added_set_has_its_own_model_card(added):
    card = added["card"]
    assert "\nlanguage: nl\n" in card
    assert "\ndatasets:\n- somebody/tweets\n" in card
    assert "Tweets on trains, [somebody/tweets](https://huggingface.co/datasets/somebody/tweets), revision" in card
    assert "Trained and measured on Dutch tweets; expect less elsewhere" in card
    assert "The user's own files" not in card
