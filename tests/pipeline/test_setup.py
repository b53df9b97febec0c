"""Model folders whose config.json or tokenizer training refuses before it starts."""

import json

import pytest

from sentiment_tf.config import TrainConfig
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import classifier
from sentiment_tf.pipeline import setup

CONFIG = {"model_type": "distilbert", "n_layers": 2, "n_heads": 2, "dim": 32, "vocab_size": 6}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "config.json cannot be read"),
        ("distilbert", "config.json cannot be read"),
        (CONFIG | {"id2label": 3}, "config.json cannot be read"),
        (CONFIG | {"max_position_embeddings": "512"}, "max_position_embeddings='512'; it must be a whole number"),
        (CONFIG | {"n_layers": None}, "n_layers=None; it must be a whole number from 1"),
        (CONFIG | {"n_heads": True}, "n_heads=True;"),
        (CONFIG | {"dim": 32.0}, "dim=32.0;"),
        (CONFIG | {"vocab_size": 0}, "vocab_size=0;"),
    ],
)
def test_config_with_wrong_content_is_refused(tmp_path, content, message):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^--model=mine: .*{message}"):
        classifier.read_config(classifier.ModelFiles(str(tmp_path), None), "mine")


def load_tokenizer(folder, settings, *, normalizer=None):
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if normalizer is not None:
        import tokenizers

        tokenizer = tokenizers.BertWordPieceTokenizer({word: number for number, word in enumerate(WORDS)})
        content = json.loads(tokenizer.to_str()) | {"normalizer": normalizer}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    return setup._load_tokenizer(TrainConfig(model="mine"), str(folder), vocabulary=len(WORDS))


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
        setup._load_tokenizer(TrainConfig(model="mine"), str(tmp_path), vocabulary=len(WORDS))
