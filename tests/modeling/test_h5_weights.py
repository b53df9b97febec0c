"""Models whose weights are tf_model.h5 alone, as older ones on the hub are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.modeling import distilbert, pretrained
from tests.support import hub

FILES = {"config.json", "tf_model.h5", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
IDS = np.array([[3, 50, 60, 4], [3, 120, 4, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.int32)


def logits_of(model) -> np.ndarray:
    return model(IDS, attention_mask=MASK, training=False).logits.numpy()


def load(directory: str):
    return distilbert.load_classifier(directory, label_names=("NEGATIVE", "POSITIVE"), name="own", seed=1)


@pytest.fixture
def h5_model(tiny_classifier, tmp_path) -> Path:
    """The tiny model in a folder: config and tokenizer, and its weights as tf_model.h5."""
    directory = hub.tiny_model(tmp_path / "model")
    (directory / "model.safetensors").unlink()
    tiny_classifier.save_pretrained(directory, safe_serialization=False)
    assert {path.name for path in directory.iterdir()} == FILES
    return directory


def test_folder_with_h5_alone(tiny_classifier, h5_model):
    files = pretrained.find_model(str(h5_model), revision=None, cache_dir="", offline=False)
    np.testing.assert_array_equal(logits_of(load(files.directory)), logits_of(tiny_classifier))


FETCH = """
import json, sys
from sentiment_tf.system import runtime
runtime.start()
from sentiment_tf.data import loading  # noqa: F401 the run loads its data before its model
from sentiment_tf.modeling import pretrained
files = pretrained.find_model(sys.argv[1], revision=None, cache_dir="", offline=False)
print(json.dumps([files.directory, files.revision]))
"""


@pytest.mark.slow
def test_hub_model_with_h5_alone(tiny_classifier, h5_model, tmp_path, monkeypatch):
    held = {path.name: path.read_bytes() for path in h5_model.iterdir()}
    unwanted = {"pytorch_model.bin": b"a pickle", "README.md": b"# h5 alone"}
    monkeypatch.setattr(hub, "repositories", lambda: [hub.Repository("model", "own/h5", held | unwanted)])
    with hub.HubServer() as server:
        environment = os.environ | server.environment(tmp_path / "home")
        call = [sys.executable, "-c", FETCH, "own/h5"]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    directory, revision = json.loads(done.stdout)
    assert revision == server.commits["own/h5"]
    assert {path.name for path in Path(directory).iterdir()} == FILES
    shutil.rmtree(h5_model)
    loaded = load(directory)
    np.testing.assert_array_equal(logits_of(loaded), logits_of(tiny_classifier))


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_weights_in_another_file_are_refused(h5_model, tmp_path, kind):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones([2, 2])
    with h5py.File(h5_model / "tf_model.h5", "a") as file:
        if kind == "link":
            file["classifier/more"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        elif kind == "storage":
            (tmp_path / "raw").write_bytes(bytes(32))
            file.create_dataset("more", (2, 2), "f8", external=[(str(tmp_path / "raw"), 0, 32)])
        else:
            layout = h5py.VirtualLayout((2, 2), "f8")
            layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (2, 2))
            file.create_virtual_dataset("more", layout)
    with pytest.raises(UserError, match="^--model=own: .*more of tf_model.h5 is in another file"):
        load(str(h5_model))
