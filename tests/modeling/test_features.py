import os
import shutil
import threading
from collections import namedtuple

import numpy as np
import pytest
import tensorflow as tf

from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError
from sentiment_tf.modeling import feature_cache, features, frozen

ROWS = 70


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    """Random ids of texts of 1 to 40 tokens."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 41, ROWS)
    ids = random.integers(1, 200, lengths.sum()).astype(np.uint16)
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), np.zeros(ROWS, bool))


def compute(model, tokens, cache_dir, *, depth, also=(), dtype=tf.float32):
    settings = {"compute_dtype": dtype, "max_length": 64}
    splits = {"train": tokens}
    return features.compute(model, splits, depth=depth, cache_dir=cache_dir, also={"train": also}, **settings)["train"]


def entries(folder) -> list:
    return sorted(folder.glob("features/[0-9a-f]*"))


@pytest.fixture
def never_again(monkeypatch):
    """Lets no trunk run from now on."""

    def fail(*_, **__):
        raise AssertionError("the trunk ran")

    return lambda: monkeypatch.setattr(frozen, "run", fail)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_features_are_the_models_own_hidden_states(tiny_classifier, tokens, tmp_path, depth):
    found = compute(tiny_classifier, tokens, str(tmp_path), depth=depth)
    for row in (0, ROWS - 1):
        ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].astype(np.int32)[None]
        states = tiny_classifier.distilbert(ids, output_hidden_states=True).hidden_states[3 - depth][0].numpy()
        here = found.values[row] if depth == 0 else found.values[tokens.offsets[row] : tokens.offsets[row + 1]]
        np.testing.assert_allclose(here, states[0] if depth == 0 else states, atol=1e-5 if depth == 0 else 4e-3)


def test_int8_is_near_float32_at_every_depth_of_one_pass(tiny_classifier, tokens, tmp_path):
    compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1, 2], dtype=tf.int8)
    assert len(entries(tmp_path)) == 3
    for depth in (0, 1, 2):
        exact = compute(tiny_classifier, tokens, None, depth=depth)
        found = compute(tiny_classifier, tokens, str(tmp_path), depth=depth, dtype=tf.int8)
        difference = np.abs(found.values.astype(np.float32) - exact.values)
        assert 0 < difference.mean() < 0.05 * exact.values.std()
        assert found.values.dtype == exact.values.dtype


@pytest.mark.slow
def test_only_training_rows_are_computed_in_the_dtype_for_them(tiny_classifier, tokens):
    splits = {"train": tokens, "validation": tokens}
    settings = {"depth": 0, "max_length": 64, "cache_dir": None, "compute_dtype": tf.float32}
    found = features.compute(tiny_classifier, splits, **settings, train_dtype=tf.int8)
    exact = features.compute(tiny_classifier, splits, **settings)
    np.testing.assert_array_equal(found["validation"].values, exact["validation"].values)
    assert np.abs(found["train"].values - exact["train"].values).mean() > 0


def test_int8_features_of_a_text_do_not_depend_on_the_other_texts(tiny_classifier, tokens):
    together = compute(tiny_classifier, tokens, None, depth=0, dtype=tf.int8)
    for row in (0, 7, ROWS - 1):
        ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
        alone = Tokens(ids, np.array([0, len(ids)]), np.zeros(1, bool))
        values = compute(tiny_classifier, alone, None, depth=0, dtype=tf.int8).values
        np.testing.assert_allclose(values[0], together.values[row], atol=1e-5)


@pytest.mark.slow
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


def test_the_head_of_an_earlier_run_saves_a_search_no_pass(tiny_classifier, tokens, tmp_path, never_again):
    first = compute(tiny_classifier, tokens, str(tmp_path), depth=0)
    again = compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1, 2])
    assert again.seconds == first.seconds > 0
    never_again()
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    compute(tiny_classifier, tokens, str(tmp_path), depth=2)


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


def test_other_code_makes_other_features(tiny_classifier, tokens, tmp_path, monkeypatch):
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    monkeypatch.setattr(feature_cache, "code_digest", lambda: "of a later version")
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    assert len(entries(tmp_path)) == 2


@pytest.mark.slow
def test_all_splits_must_fit_together(tiny_classifier, tokens, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    other = Tokens(tokens.ids[::-1].copy(), tokens.offsets, tokens.truncated)
    settings = {"compute_dtype": tf.float32, "max_length": 64, "depth": 0}
    needed, wanted = 2 * ROWS * 32 * 4, 2 * len(tokens.ids) * 32 * 2

    def made(free, also):
        folder = tmp_path / str(free)
        monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - free, free))
        splits = {"train": tokens, "validation": other}
        features.compute(tiny_classifier, splits, cache_dir=str(folder), also=dict.fromkeys(splits, also), **settings)
        return len(entries(folder))

    assert made(needed, [1]) == 2
    reserved = int((needed + wanted) / 0.9)
    assert made(reserved - 1, [1]) == 2
    assert made(reserved + 1, [1]) == 4
    with pytest.raises(UserError, match=f"{needed:,} bytes and {needed - 1:,} are free"):
        made(needed - 1, [])
    assert not entries(tmp_path / str(needed - 1))


def test_older_features_make_way_on_a_full_disk(tiny_classifier, tokens, tmp_path, monkeypatch):
    other = Tokens(tokens.ids[::-1].copy(), tokens.offsets, tokens.truncated)
    old = [tmp_path / "features" / name for name in ("f1", "f2")]
    for used, folder in enumerate(old):
        folder.mkdir(parents=True)
        (folder / "values").write_bytes(bytes(ROWS * 32 * 4))
        os.utime(folder, (used, used))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        feature_cache.shutil, "disk_usage", lambda _: usage(10**6, 0, 10 if old[0].exists() else ROWS * 32 * 4)
    )
    compute(tiny_classifier, other, str(tmp_path), depth=0)
    assert not old[0].exists()
    assert old[1].exists()
    assert len(entries(tmp_path)) == 2


def test_the_cache_is_kept_in_bounds(tiny_classifier, tokens, tmp_path):
    compute(tiny_classifier, tokens, str(tmp_path), depth=0)
    (mine,) = entries(tmp_path)
    old = tmp_path / "features" / "f1"
    old.mkdir()
    (old / "values").write_bytes(bytes(1000))
    feature_cache.keep_in_bounds(str(tmp_path), "1MB")
    assert old.exists()
    feature_cache.keep_in_bounds(str(tmp_path), "1KB")
    assert entries(tmp_path) == [mine]  # this process reads it, whatever the limit


def test_what_may_never_be_asked_for_needs_no_room(tiny_classifier, tokens, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 10_000, 10_000))
    compute(tiny_classifier, tokens, str(tmp_path), depth=0, also=[1])
    assert len(entries(tmp_path)) == 1


def test_what_a_killed_process_had_begun_is_deleted_first(tiny_classifier, tokens, tmp_path, monkeypatch):
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    (entry,) = entries(tmp_path)
    left = entry.with_name(f".{entry.name}-abc")
    os.rename(entry, left)
    freed = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: freed.append(left.exists()) or usage(path))
    compute(tiny_classifier, tokens, str(tmp_path), depth=1)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]
    assert freed == [False]  # before the room is looked at


def build(entry) -> np.ndarray:
    """Returns the entry's values, all 7, from the cache or computed."""

    def fill(name, targets):
        for target in targets.values():
            target[:] = 7

    strategy = tf.distribute.get_strategy()
    return feature_cache.cached({"train": {0: entry}}, 0, fill, strategy, only=["train"])["train"][0]


def test_two_runs_with_one_cache_build_the_same_entry_at_the_same_time(tmp_path):
    entry = feature_cache.Entry(tmp_path / "features" / "abc", (50, 8), np.dtype(np.float32))
    found = []

    def remove():
        shutil.rmtree(entry.folder, ignore_errors=True)

    together = threading.Barrier(2, action=remove, timeout=60)  # where both wait, nobody builds

    def run():
        for _ in range(200):
            together.wait()
            found.append(float(build(entry).sum()))
            together.wait()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [50 * 8 * 7] * 400
    assert not any(entry.folder.parent.iterdir())
