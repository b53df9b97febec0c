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


def load_tokenizer(folder, settings, *, normalizer=None):
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if normalizer is not None:
        import tokenizers

        tokenizer = tokenizers.BertWordPieceTokenizer({word: number for number, word in enumerate(WORDS)})
        content = json.loads(tokenizer.to_str()) | {"normalizer": normalizer}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    return distilbert.load_tokenizer(str(folder), name="mine", vocabulary_size=len(WORDS))


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"do_lower_case": True, "strip_accents": True, "tokenizer_class": "BertTokenizer"},
        {"do_lower_case": False, "strip_accents": None, "tokenizer_class": None},
        {"do_lower_case": False, "strip_accents": False, "tokenizer_class": "DistilBertTokenizerFast"},
    ],
)
def test_tokenizer_that_the_export_follows_is_loaded(tmp_path, settings):
    assert load_tokenizer(tmp_path, settings).do_lower_case is (settings or {}).get("do_lower_case", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_lower_case": True, "strip_accents": False}, "do_lower_case=true with strip_accents=false"),
        ({"do_lower_case": False, "strip_accents": True}, "do_lower_case=false with strip_accents=true"),
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars=false"),
        ({"tokenizer_class": "RobertaTokenizerFast"}, "tokenizer_class=RobertaTokenizerFast"),
        ({"added_tokens_decoder": {"5": {"content": "good", "special": False}}}, "the added token 'good'"),
    ],
)
def test_tokenizer_setting_that_the_export_ignores_is_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=f"^--model=mine: its tokenizer has {message}, which the export does not"):
        load_tokenizer(tmp_path, settings)


@pytest.mark.parametrize(
    ("normalizer", "message"),
    [
        (
            {
                "type": "BertNormalizer",
                "clean_text": False,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "clean_text=false",
        ),
        ({"type": "Lowercase"}, "the normalizer Lowercase"),
    ],
)
def test_normalizer_that_the_export_does_not_have_is_refused(tmp_path, normalizer, message):
    with pytest.raises(UserError, match=f"^--model=mine: its tokenizer has {message}, which the export does not"):
        load_tokenizer(tmp_path, {"do_lower_case": True}, normalizer=normalizer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "the pre_tokenizer Whitespace"),
        ({"pre_tokenizer": None}, "the pre_tokenizer None"),
        ({"post_processor": None}, "a post_processor other than"),
        (
            {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 10**9], "cls": ["[CLS]", 2]}},
            "a post_processor other than",
        ),
        (
            {
                "added_tokens": [
                    {
                        "id": 5,
                        "content": "good",
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                        "special": False,
                    }
                ]
            },
            "the added token 'good'",
        ),
    ],
)
def test_tokenizer_file_that_does_otherwise_than_bert_is_refused(tmp_path, changes, message):
    import tokenizers

    content = json.loads(tokenizers.BertWordPieceTokenizer({word: n for n, word in enumerate(WORDS)}).to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | changes))
    with pytest.raises(UserError, match=f"^--model=mine: its tokenizer has {message}"):
        distilbert.load_tokenizer(str(tmp_path), name="mine", vocabulary_size=len(WORDS))


@pytest.mark.parametrize("key", ["tokenizer_file", "vocab_file", "fast_tokenizer_files"])
def test_no_tokenizer_file_outside_of_the_model_folder_is_read(tmp_path, key):
    import tokenizers

    (tmp_path / "other").mkdir()
    other = tokenizers.BertWordPieceTokenizer({word: n for n, word in enumerate([*WORDS[:5], "other"])})
    other.save(str(tmp_path / "other" / "tokenizer.4.0.0.json"))
    (tmp_path / "other" / "vocab.txt").write_text("\n".join([*WORDS[:5], "other"]))
    name = "../other/vocab.txt" if key == "vocab_file" else "../other/tokenizer.4.0.0.json"
    named = [name] if key == "fast_tokenizer_files" else str(tmp_path / "mine" / name)
    (tmp_path / "mine").mkdir()
    tokenizer = load_tokenizer(tmp_path / "mine", {key: named})
    assert tokenizer.get_vocab().keys() == {*WORDS}


@pytest.mark.parametrize("classes", [2, 5, 20])  # of 32 units: eight pairs for each, three, and fewer than a pair
def test_a_linear_head_gives_the_logits_of_its_kernel_and_bias(classes):
    model = make_tiny_classifier(seed=1, classes=classes)
    random = np.random.default_rng(4)
    kernel, bias = random.normal(size=(32, classes)), random.normal(size=classes)
    distilbert.set_linear_head(model, kernel, bias)
    ids = random.integers(1, 200, (16, 9))
    cls = model.distilbert(ids).last_hidden_state[:, 0].numpy()
    np.testing.assert_allclose(model(ids).logits.numpy(), cls @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json", "tokenizer_config.json"])
def test_tokenizer_files_larger_than_any_are_refused_unread(tmp_path, file):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    with open(tmp_path / file, "wb") as huge:
        huge.truncate(10**10)  # zeros that take no space on the disk
    with pytest.raises(UserError, match=f"^--model=mine: .*{file} has 10,000,000,000 bytes; at most"):
        distilbert.load_tokenizer(str(tmp_path), name="mine", vocabulary_size=len(WORDS))


def test_config_larger_than_any_is_refused_unread(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with open(tmp_path / "config.json", "wb") as huge:
        huge.truncate(10**10)
    with pytest.raises(UserError, match="^--model=mine: config.json cannot be read .*has 10,000,000,000 bytes"):
        distilbert_settings.read(str(tmp_path), "mine")


def test_devices_are_not_read(tmp_path):
    (tmp_path / "model.safetensors").touch()
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="^--model=mine: .*config.json is not a regular file"):
        distilbert_settings.read(str(tmp_path), "mine")
    with pytest.raises(UserError, match="^--model=mine: .*vocab.txt is not a regular file"):
        distilbert.load_tokenizer(str(tmp_path), name="mine", vocabulary_size=len(WORDS))
