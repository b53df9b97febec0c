"""Model folders that training refuses before it starts, and what it reads from the others."""

import json

import numpy as np
import pytest
import safetensors.numpy

from sentiment_tf.errors import UserError
from sentiment_tf.modeling import distilbert, distilbert_settings
from tests.support import hub
from tests.support.tiny_classifier import make_tiny_classifier

CONFIG = {"model_type": "distilbert", "n_layers": 2, "n_heads": 2, "dim": 32, "vocab_size": 6}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "config.json cannot be read"),
        ("distilbert", "config.json cannot be read"),
        ({"n_layers": 2}, "this is a nameless model; pass a DistilBERT"),
        (CONFIG | {"model_type": "bert"}, "this is a bert model; pass a DistilBERT"),
        (CONFIG | {"max_position_embeddings": "512"}, "max_position_embeddings='512'; it must be a whole number"),
        (CONFIG | {"n_layers": None}, "n_layers=None; it must be a whole number from 1"),
        (CONFIG | {"n_heads": True}, "n_heads=True;"),
        (CONFIG | {"dim": 32.0}, "dim=32.0;"),
        (CONFIG | {"vocab_size": 0}, "vocab_size=0;"),
        (CONFIG | {"dim": 10**9}, "dim=1000000000; it must be a whole number from 1 to 10,000,000"),
        (CONFIG | {"hidden_dim": 10**4000}, "hidden_dim=1000.*; it must be a whole number"),
        (CONFIG | {"n_heads": 3}, "n_heads=3; it must be a divisor of dim=32"),
        (CONFIG | {"n_layers": 10**6}, "its weights do not fit its config.json, which asks for .* has 0 bytes"),
        (CONFIG | {"dropout": 1.0}, "dropout=1.0; it must be a number from 0 to less than 1"),
        (CONFIG | {"attention_dropout": float("nan")}, "attention_dropout=nan;"),
        (CONFIG | {"seq_classif_dropout": "0.1"}, "seq_classif_dropout='0.1';"),
        (CONFIG | {"qa_dropout": -0.1}, "qa_dropout=-0.1;"),
        (CONFIG | {"initializer_range": float("inf")}, "initializer_range=inf; it must be a number from 0 to 1"),
        (CONFIG | {"activation": "swish"}, "activation='swish'; it must be gelu or relu"),
        (CONFIG | {"activation": ["gelu"]}, r"activation=\['gelu'\];"),
        (CONFIG | {"pad_token_id": 6}, "pad_token_id=6; it must be a token's id"),
        (CONFIG | {"sinusoidal_pos_embds": 1}, "sinusoidal_pos_embds=1; it must be true or false"),
    ],
)
def test_config_with_wrong_content_is_refused(tmp_path, content, message):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^--model=mine: .*{message}"):
        distilbert_settings.read(str(tmp_path), "mine")


def test_config_that_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="^--model=mine: config.json cannot be read"):
        distilbert_settings.read(str(tmp_path), "mine")


def test_unknown_keys_of_config_never_reach_transformers(tmp_path):
    folder = hub.tiny_model(tmp_path / "model")
    unknown = {"auto_map": {"AutoConfig": "someone/else--code.Config"}, "_attn_implementation_internal": "someone/else"}
    config = json.loads((folder / "config.json").read_text()) | unknown | {"id2label": 3, "torch_dtype": "no such"}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = distilbert.load_classifier(str(folder), label_names=("A", "B", "C"), name="mine", seed=0).config
    assert loaded.id2label == {0: "A", 1: "B", 2: "C"}
    assert not unknown.keys() & loaded.to_dict().keys()
    assert getattr(loaded, "_attn_implementation_internal", None) != "someone/else"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    folder = hub.tiny_model(tmp_path / "model")
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    weights["distilbert.transformer.layer.1.ffn.lin2.weight"][3, 5] = value
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="^--model=mine: its weight .*layer_._1/ffn/lin2/kernel:0 holds numbers that"):
        distilbert.load_classifier(str(folder), label_names=("A", "B"), name="mine", seed=0)


@pytest.mark.parametrize("classes", [2, 5, 20])  # of 32 units: eight pairs for each, three, and fewer than a pair
def test_a_linear_head_gives_the_logits_of_its_kernel_and_bias(classes):
    model = make_tiny_classifier(seed=1, classes=classes)
    random = np.random.default_rng(4)
    kernel, bias = random.normal(size=(32, classes)), random.normal(size=classes)
    distilbert.set_linear_head(model, kernel, bias)
    ids = random.integers(1, 200, (16, 9))
    cls = model.distilbert(ids).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(model(ids).logits.numpy(), cls @ kernel + bias, atol=1e-4)


def test_config_larger_than_any_is_refused_unread(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with open(tmp_path / "config.json", "wb") as huge:
        huge.truncate(10**10)
    with pytest.raises(UserError, match="^--model=mine: config.json cannot be read .*has 10,000,000,000 bytes"):
        distilbert_settings.read(str(tmp_path), "mine")


def test_devices_are_not_read(tmp_path):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="^--model=mine: .*config.json is not a regular file"):
        distilbert_settings.read(str(tmp_path), "mine")
