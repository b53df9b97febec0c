"""The tokenizer of a model folder: equal to transformers' own, and refused where an export could not follow it."""

import json

import numpy as np
import pytest
import tokenizers

from sentiment_tf.data import packaged, tokenization
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import bert_tokenizer
from tests.support.hard_strings import HARD_STRINGS
from tests.support.reviews import packaged_reviews

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]


def load_tokenizer(folder, settings, *, normalizer=None):
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if normalizer is not None:
        tokenizer = tokenizers.BertWordPieceTokenizer({word: number for number, word in enumerate(WORDS)})
        content = json.loads(tokenizer.to_str()) | {"normalizer": normalizer}
        (folder / "tokenizer.json").write_text(json.dumps(content))
    return bert_tokenizer.load(str(folder), name="mine", vocabulary_size=len(WORDS))


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
    assert load_tokenizer(tmp_path, settings).normalizer.lowercase is (settings or {}).get("do_lower_case", True)


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
    content = json.loads(tokenizers.BertWordPieceTokenizer({word: n for n, word in enumerate(WORDS)}).to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | changes))
    with pytest.raises(UserError, match=f"^--model=mine: its tokenizer has {message}"):
        bert_tokenizer.load(str(tmp_path), name="mine", vocabulary_size=len(WORDS))


@pytest.mark.parametrize("key", ["tokenizer_file", "vocab_file", "fast_tokenizer_files"])
def test_no_tokenizer_file_outside_of_the_model_folder_is_read(tmp_path, key):
    (tmp_path / "other").mkdir()
    other = tokenizers.BertWordPieceTokenizer({word: n for n, word in enumerate([*WORDS[:5], "other"])})
    other.save(str(tmp_path / "other" / "tokenizer.4.0.0.json"))
    (tmp_path / "other" / "vocab.txt").write_text("\n".join([*WORDS[:5], "other"]))
    name = "../other/vocab.txt" if key == "vocab_file" else "../other/tokenizer.4.0.0.json"
    named = [name] if key == "fast_tokenizer_files" else str(tmp_path / "mine" / name)
    (tmp_path / "mine").mkdir()
    tokenizer = load_tokenizer(tmp_path / "mine", {key: named})
    assert tokenizer.get_vocab().keys() == {*WORDS}


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json", "tokenizer_config.json"])
def test_tokenizer_files_larger_than_any_are_refused_unread(tmp_path, file):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    with open(tmp_path / file, "wb") as huge:
        huge.truncate(10**10)  # zeros that take no space on the disk
    with pytest.raises(UserError, match=f"^--model=mine: .*{file} has 10,000,000,000 bytes; at most"):
        bert_tokenizer.load(str(tmp_path), name="mine", vocabulary_size=len(WORDS))


def test_a_device_is_not_read(tmp_path):
    (tmp_path / "vocab.txt").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="^--model=mine: .*vocab.txt is not a regular file"):
        bert_tokenizer.load(str(tmp_path), name="mine", vocabulary_size=len(WORDS))


@pytest.mark.parametrize("lower_case", [True, False])
@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_gives_the_ids_of_transformers_own(tmp_path, file, lower_case):
    from transformers import DistilBertTokenizerFast

    words = (packaged.model_folder() / "vocab.txt").read_text(encoding="utf-8")
    (tmp_path / "vocab.txt").write_text(words + "Good\ngood\nThe\n", encoding="utf-8")  # a word that stands twice, too
    settings = {"do_lower_case": lower_case}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = DistilBertTokenizerFast(str(tmp_path / "vocab.txt"), **settings, split_special_tokens=True)
    if file == "tokenizer.json":
        theirs.backend_tokenizer.save(str(tmp_path / file))
    ours = bert_tokenizer.load(str(tmp_path), name="mine", vocabulary_size=30_600)
    texts = [*HARD_STRINGS, "The Good, the good [SEP]", *packaged_reviews()[::100]]
    got, want = (tokenization.tokenize(each, texts, max_length=512) for each in (ours, theirs.backend_tokenizer))
    np.testing.assert_array_equal(got.ids, want.ids)
    np.testing.assert_array_equal(got.offsets, want.offsets)


def test_ids_past_those_of_two_bytes(tmp_path):
    """A word that stands many times leaves fewer words than the highest id."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *["again"] * 70_000, "good"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = bert_tokenizer.load(str(tmp_path), name="mine", vocabulary_size=len(words))
    assert tokenization.tokenize(tokenizer, ["good"], max_length=8).ids.tolist() == [2, len(words) - 1, 3]
