import os
from collections import namedtuple

import numpy as np
import pytest
import tensorflow as tf

from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import feature_cache, features, trunk

ROWS = 70


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    """Random ids of texts of 1 to 40 tokens."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 41, ROWS)
    ids = random.integers(1, 200, lengths.sum()).astype(np.uint16)
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), np.zeros(ROWS, bool))


def compute(model, tokens, cache_dir, *, depth, also=()):
    settings = {"compute_dtype": tf.float32, "max_length": 64, "name": "train"}
    return features.compute(model, tokens, depth=depth, cache_dir=cache_dir, also=also, **settings)


def entries(folder) -> list:
    return sorted(folder.glob("features/[0-9a-f]*"))


@pytest.fixture
def never_again(monkeypatch):
    """Lets no trunk run from now on."""

    def fail(*_, **__):
        raise AssertionError("the trunk ran")

    return lambda: monkeypatch.setattr(trunk, "run", fail)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_features_are_the_models_own_hidden_states(tiny_classifier, tokens, tmp_path, depth):
    found = compute(tiny_classifier, tokens, str(tmp_path), depth=depth)
    for row in (0, ROWS - 1):
        ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].astype(np.int32)[None]
        states = tiny_classifier.distilbert(ids, output_hidden_states=True).hidden_states[3 - depth][0].numpy()
        here = found.values[row] if depth == 0 else found.values[tokens.offsets[row] : tokens.offsets[row + 1]]
        np.testing.assert_allclose(here, states[0] if depth == 0 else states, atol=1e-5 if depth == 0 else 4e-3)


def test_one_pass_serves_several_depths(tiny_classifier, tokens, tmp_path, never_again):
    alone = {depth: compute(tiny_classifier, tokens, None, depth=depth) for depth in (0, 1, 2)}
    compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1, 2])
    assert len(entries(tmp_path)) == 3
    never_again()
    for depth, expected in alone.items():
        found = compute(tiny_classifier, tokens, str(tmp_path), depth=depth)
        np.testing.assert_array_equal(found.values, expected.values)


def test_of_several_depths_only_the_missing_are_written(tiny_classifier, tokens, tmp_path):
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    (there,) = entries(tmp_path)
    before = (there / "values").stat().st_mtime_ns
    compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1, 2])
    assert len(entries(tmp_path)) == 3
    assert (there / "values").stat().st_mtime_ns == before


@pytest.mark.parametrize("file", ["values", "features.json"])
def test_a_damaged_entry_is_noticed_and_made_again(tiny_classifier, tokens, tmp_path, file, caplog):
    expected = compute(tiny_classifier, tokens, str(tmp_path), depth=1).values.copy()
    (entry,) = entries(tmp_path)
    os.truncate(entry / file, 40)
    np.testing.assert_array_equal(compute(tiny_classifier, tokens, str(tmp_path), depth=1).values, expected)
    assert "damaged" in caplog.text


def test_too_little_disk_is_told_in_bytes_before_the_work(tiny_classifier, tokens, tmp_path, monkeypatch, never_again):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
    never_again()
    needed = ROWS * 32 * 4
    with pytest.raises(UserError, match=f"{needed:,} bytes and 1,000 are free"):
        compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1])
    assert not entries(tmp_path)


def test_what_may_never_be_asked_for_needs_no_room(tiny_classifier, tokens, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 10_000, 10_000))
    compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1])
    assert len(entries(tmp_path)) == 1


def test_what_a_killed_process_had_begun_is_deleted(tiny_classifier, tokens, tmp_path):
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    (entry,) = entries(tmp_path)
    left = entry.with_name(f".{entry.name}-abc")
    os.rename(entry, left)
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]
