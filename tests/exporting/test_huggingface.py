"""The folder for transformers: names, layout and values without PyTorch (`make interop` loads it there)."""

import json
import os
import re

import numpy as np
import pytest
import safetensors
import tokenizers

from sentiment_tf.data import tokenization
from sentiment_tf.exporting import huggingface
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from sentiment_tf.inference.engines import safetensors as engine
from sentiment_tf.modeling import bert_tokenizer, distilbert, encoder
from tests.support.hub import tiny_model

LABELS = ("NEGATIVE", "NEUTRAL", "POSITIVE")
TEMPERATURE = 1.6
BLOCK = [*(f"attention.{name}_lin" for name in ("q", "k", "v", "out")), "sa_layer_norm"]
BLOCK += ["ffn.lin1", "ffn.lin2", "output_layer_norm"]


def load_tokenizer(directory, model):
    return bert_tokenizer.load(str(directory), name="tiny", vocabulary_size=model.config.vocab_size)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model, tokenizer) of a tiny DistilBERT with three classes."""
    directory = str(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))
    model = distilbert.load_classifier(directory, label_names=LABELS, name="tiny", seed=0)
    return model, load_tokenizer(directory, model)


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    written = tmp_path_factory.mktemp("run") / "hf"
    huggingface.write(bundle(*trained, temperature=TEMPERATURE), written)
    return written


def bundle(model, tokenizer, *, temperature: float = 1.0) -> Bundle:
    return Bundle(
        weights=encoder.divide_logits(distilbert.read_weights(model), temperature),
        named_weights=distilbert.pytorch_weights(model, temperature=temperature),
        network=distilbert.network_settings(model),
        tokenizer=tokenization.portable(tokenizer),
        label_names=LABELS,
        max_length=20,
    )


@pytest.fixture(scope="module")
def weights(folder):
    with safetensors.safe_open(folder / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict


def test_names_and_shapes_are_those_of_pytorch(weights, trained):
    config = trained[0].config
    dim, hidden = config.dim, config.hidden_dim
    shapes = {f"attention.{name}_lin.weight": (dim, dim) for name in ("q", "k", "v", "out")}
    shapes |= {"ffn.lin1.weight": (hidden, dim), "ffn.lin2.weight": (dim, hidden), "ffn.lin1.bias": (hidden,)}
    expected = {
        f"distilbert.transformer.layer.{number}.{part}.{kind}": shapes.get(f"{part}.{kind}", (dim,))
        for number in range(config.n_layers)
        for part in BLOCK
        for kind in ("weight", "bias")
    }
    expected |= {
        "distilbert.embeddings.word_embeddings.weight": (config.vocab_size, dim),
        "distilbert.embeddings.position_embeddings.weight": (config.max_position_embeddings, dim),
        "distilbert.embeddings.LayerNorm.weight": (dim,),
        "distilbert.embeddings.LayerNorm.bias": (dim,),
        "pre_classifier.weight": (dim, dim),
        "pre_classifier.bias": (dim,),
        "classifier.weight": (3, dim),
        "classifier.bias": (3,),
    }
    assert {name: array.shape for name, array in weights.items()} == expected
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_values_are_the_trained_variables(weights, trained):
    model = trained[0]
    block = model.distilbert.transformer.layer[1]
    prefix = "distilbert.transformer.layer.1."
    np.testing.assert_array_equal(weights[prefix + "attention.k_lin.weight"], block.attention.k_lin.kernel.numpy().T)
    np.testing.assert_array_equal(weights[prefix + "ffn.lin1.weight"], block.ffn.lin1.kernel.numpy().T)
    np.testing.assert_array_equal(weights[prefix + "ffn.lin2.bias"], block.ffn.lin2.bias.numpy())
    np.testing.assert_array_equal(weights[prefix + "sa_layer_norm.weight"], block.sa_layer_norm.gamma.numpy())
    np.testing.assert_array_equal(weights["pre_classifier.weight"], model.pre_classifier.kernel.numpy().T)
    np.testing.assert_allclose(weights["classifier.weight"] * TEMPERATURE, model.classifier.kernel.numpy().T, rtol=1e-6)
    assert sum(array.size for array in weights.values()) == model.count_params()


def test_files_may_be_read_by_whom_the_umask_says(trained, tmp_path):
    before = os.umask(0o027)
    try:
        huggingface.write(bundle(*trained), tmp_path / "hf")
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "hf").iterdir()} == {"0o640"}


def test_config_holds_known_keys_and_the_labels(folder, trained):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["DistilBertForSequenceClassification"]
    assert config["model_type"] == "distilbert"
    assert config["id2label"] == {"0": "NEGATIVE", "1": "NEUTRAL", "2": "POSITIVE"}
    assert config["label2id"] == {"NEGATIVE": 0, "NEUTRAL": 1, "POSITIVE": 2}
    assert {name: config[name] for name in ("dim", "n_heads", "n_layers", "activation")} == {
        name: getattr(trained[0].config, name) for name in ("dim", "n_heads", "n_layers", "activation")
    }


def test_tensorflow_reads_it_back_with_the_temperature_in_its_logits(folder, trained):
    model, tokenizer = trained
    again = distilbert.load_classifier(str(folder), label_names=LABELS, name="hf", seed=1)
    tokens = tokenization.tokenize(tokenizer, ["good film", "a bad film of no worth", ""], max_length=20)
    expected = distilbert.reference_logits(model, tokens) / TEMPERATURE
    np.testing.assert_allclose(distilbert.reference_logits(again, tokens), expected, atol=1e-5)


def test_tokenizer_json_alone_gives_the_ids_of_training(folder, trained):
    texts = [*ODD_TEXTS, "fine<br />film<BR\t>", "<br >", "[SEP] [CLS]good"]
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    expected = tokenization.tokenize(trained[1], clean, max_length=20)
    alone = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.enable_truncation(20)
    again = tokenization.tokenize(load_tokenizer(folder, trained[0]), texts, max_length=20)
    for row, text in enumerate(texts):
        ids = expected.ids[expected.offsets[row] : expected.offsets[row + 1]].tolist()
        assert alone.encode(text).ids == ids, text
        assert again.ids[again.offsets[row] : again.offsets[row + 1]].tolist() == ids, text


def test_javascript_meets_no_capital_sigma(folder):
    """JavaScript lower-cases one at the end of a word to another letter than the tokenizers package does."""
    content = json.loads((folder / "tokenizer.json").read_text())
    *before, bert = content["normalizer"]["normalizers"]
    assert bert["type"] == "BertNormalizer"
    content["normalizer"]["normalizers"] = before
    steps = tokenizers.Tokenizer.from_str(json.dumps(content)).normalizer
    assert steps.normalize_str("ΟΔΥΣΣΕΥΣ<br>ΣΑΣ Σ") == "ΟΔΥσσΕΥσ σΑσ σ"


def test_a_cased_tokenizer_keeps_capital_sigma():
    backend = tokenizers.BertWordPieceTokenizer({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "Σ": 3}, lowercase=False)
    content = tokenization.portable(backend)
    alone = tokenizers.Tokenizer.from_str(json.dumps(content))
    assert alone.encode("Σ<br>Σ").tokens == ["[CLS]", "Σ", "Σ", "[SEP]"]


def test_transformers_own_loader_gives_them_too(folder, trained):
    from transformers import AutoTokenizer

    texts = [*ODD_TEXTS, "fine<br />film"]
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    expected = tokenization.tokenize(trained[1], clean, max_length=20)
    answer = AutoTokenizer.from_pretrained(folder)(texts, truncation=True)
    assert set(answer) == {"input_ids", "attention_mask"}
    assert [token for row in answer["input_ids"] for token in row] == expected.ids.tolist()


def test_our_own_graph_reads_the_folder(folder, trained):
    model, tokenizer = trained
    texts = ["good film", "a bad film of no worth", "", "fine<br />film", "\ud800good"]
    loaded = engine.load(folder)
    clean = [re.sub(tokenization.LINE_BREAK, " ", text).replace("\ud800", "") for text in texts]
    tokens = tokenization.tokenize(tokenizer, clean, max_length=20)
    expected = distilbert.reference_logits(model, tokens) / TEMPERATURE
    np.testing.assert_allclose(loaded.logits(texts), expected, atol=1e-5)
    np.testing.assert_allclose(engine.load(folder, precision="bfloat16").logits(texts), expected, atol=0.1)
    assert (loaded.label_names, loaded.max_length) == (LABELS, 20)
