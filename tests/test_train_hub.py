"""The whole command with a model hub on loopback, with its filled cache, and without any."""

import os

import pytest

from tests.support.commands import quick_train, record_of, refused, succeeded
from tests.support.hub import DISTILBERT, IMDB, HubServer

pytestmark = pytest.mark.slow


def test_hub_and_its_filled_cache(tmp_path):
    """The very command of the README, against a hub on loopback; then from what it fetched."""
    flags = ["--dataset=imdb", f"--cache_dir={tmp_path}/c", "--max_length=32", "--epochs=1", "--exports=hf"]
    with HubServer() as hub:
        succeeded(quick_train(*flags, f"--output_dir={tmp_path}/a", environment=hub.environment(tmp_path / "home")))
        record = record_of(tmp_path / "a" / "imdb")
        assert record["config"]["model"] == DISTILBERT
        assert record["model_revision"] == record["config"]["model_revision"] == hub.commits[DISTILBERT]
        assert record["data"]["source"]["revision"] == hub.commits[IMDB]
        environment = hub.environment(tmp_path / "home", offline=True)
    succeeded(quick_train(*flags, f"--output_dir={tmp_path}/b", environment=environment))
    again = record_of(tmp_path / "b" / "imdb")
    assert again["metrics"] == record["metrics"]
    assert again["model_revision"] == record["model_revision"]


def test_revisions_are_pinned_and_an_unknown_one_is_refused(tmp_path):
    flags = [
        "--dataset=sst2",
        f"--cache_dir={tmp_path}/c",
        f"--output_dir={tmp_path}/m",
        "--max_length=32",
        "--epochs=1",
        "--exports=hf",
    ]
    with HubServer() as hub:
        environment = hub.environment(tmp_path / "home")
        pinned = ["--model_revision=v1", "--dataset_revision=v1"]
        refused(quick_train(*flags, "--model_revision=v9", environment=environment), "--model_revision=v9")
        refused(quick_train(*flags, "--dataset_revision=v9", environment=environment), "--dataset_revision=v9")
        assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())
        succeeded(quick_train(*flags, *pinned, environment=environment))
        assert record_of(tmp_path / "m" / "sst2")["model_revision"] == hub.commits[DISTILBERT]


def test_hub_out_of_reach_says_what_works_without(own, tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
    }
    flags = [f"--cache_dir={tmp_path}/c", f"--output_dir={tmp_path}/m"]
    refused(quick_train("--dataset=sst2", *flags, environment=environment), "sst2", "--offline")
    here = [f"--train_file={own['train']}", "--model=distilbert/distilbert-base-uncased"]
    refused(quick_train(*here, *flags, environment=environment), "distilbert-base-uncased", "minilm-l6")
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())
