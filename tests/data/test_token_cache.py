import numpy as np
import pytest

from sentiment_tf.data import token_cache, tokenization
from sentiment_tf.modeling import bert_tokenizer, distilbert_settings
from tests.support.hub import sentences, tiny_model

TEXTS = sentences(tokenization.TEXTS_AT_ONCE + 100, seed=0)[0]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tiny_model(tmp_path_factory.mktemp("tokens") / "model")
    settings = distilbert_settings.read(str(folder), "tiny")
    return bert_tokenizer.load(str(folder), name="tiny", vocabulary_size=settings.vocab_size)


def tokenize(tokenizer, cache_dir, texts=TEXTS, *, max_length=6, fingerprint="abc"):
    settings = {"max_length": max_length, "fingerprint": fingerprint, "cache_dir": str(cache_dir)}
    return token_cache.tokenize(tokenizer, texts, **settings)


def assert_same(found, expected):
    for name in ("ids", "offsets", "truncated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype


@pytest.mark.parametrize("texts", [TEXTS, []])
def test_tokens_are_the_same_and_tokenized_once(tokenizer, tmp_path, texts, monkeypatch):
    expected = tokenization.tokenize(tokenizer, texts, max_length=6)
    assert expected.truncated.any() == bool(texts)
    assert_same(tokenize(tokenizer, tmp_path, texts), expected)
    monkeypatch.delattr(tokenization, "batches")
    found = tokenize(tokenizer, tmp_path, texts)
    assert_same(found, expected)
    assert isinstance(found.ids, np.memmap) == bool(texts)
    assert found.fingerprint == expected.fingerprint


def test_an_entry_for_each_text_and_length(tokenizer, tmp_path):
    for changed in ({}, {"max_length": 5}, {"fingerprint": "abd"}, {}):
        tokenize(tokenizer, tmp_path, **changed)
    assert len(list((tmp_path / "tokens").iterdir())) == 3


@pytest.mark.parametrize("file", ["ids", "lengths.npy", "tokens.json"])
def test_a_damaged_entry_is_made_again(tokenizer, tmp_path, file, caplog):
    tokenize(tokenizer, tmp_path)
    (entry,) = (tmp_path / "tokens").iterdir()
    content = (entry / file).read_bytes()
    (entry / file).write_bytes(content[:-1] + b"?")
    assert_same(tokenize(tokenizer, tmp_path), tokenization.tokenize(tokenizer, TEXTS, max_length=6))
    assert "damaged" in caplog.text
    assert (entry / file).read_bytes() == content


def test_without_a_cache_nothing_is_written(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"max_length": 6, "fingerprint": "abc", "cache_dir": None}
    assert len(token_cache.tokenize(tokenizer, TEXTS, **settings).lengths) == len(TEXTS)
    assert list(tmp_path.iterdir()) == []
