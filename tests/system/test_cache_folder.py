import os
import subprocess
import sys

import pytest

from sentiment_tf.system import cache_folder

HOLD = """
import sys
from pathlib import Path
from sentiment_tf.system import cache_folder
print(cache_folder.hold(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path):
    """Entries a (used first), b and c, of 100 bytes each."""
    for number, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "values").write_bytes(bytes(100))
        os.utime(tmp_path / name, (number, number))
    (tmp_path / ".d-unfinished").mkdir()
    return tmp_path


def names(entries):
    return [entry.folder.name for entry in entries]


def test_entries_by_last_use(cache):
    assert [(entry.folder.name, entry.bytes, entry.used) for entry in cache_folder.entries(cache)] == [
        ("a", 100, 0),
        ("b", 100, 1),
        ("c", 100, 2),
    ]
    assert cache_folder.hold(cache / "a")
    assert names(cache_folder.entries(cache)) == ["b", "c", "a"]
    assert cache_folder.entries(cache / "none") == []


@pytest.mark.parametrize(("limit", "left"), [(300, "abc"), (299, "bc"), (200, "bc"), (100, "c"), (0, ""), (-1, "")])
def test_the_least_recently_used_go_first(cache, limit, left):
    deleted = cache_folder.shrink([cache], limit)
    assert names(cache_folder.entries(cache)) == list(left)
    assert names(deleted) == [name for name in "abc" if name not in left]
    assert sorted(path.name for path in cache.iterdir()) == sorted([*left, ".d-unfinished"])


def test_what_is_kept_or_held_stays(cache):
    assert cache_folder.hold(cache / "b")
    assert names(cache_folder.shrink([cache], 0, keep=[cache / "a"])) == ["c"]
    assert not cache_folder.hold(cache / "c")


@pytest.mark.slow
def test_what_another_process_reads_stays_until_it_ends(cache):
    call = [sys.executable, "-c", HOLD, str(cache / "a")]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "True\n"
        assert names(cache_folder.shrink([cache], 0)) == ["b", "c"]
        reader.kill()
    assert names(cache_folder.shrink([cache], 0)) == ["a"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("50GB", 50e9), ("1.5 mb", 1.5e6), ("0KB", 0), ("0%", 0), ("50", None), ("-1GB", None), ("much", None)],
)
def test_limits(tmp_path, limit, expected):
    assert cache_folder.parse_limit(limit, tmp_path) == expected


def test_a_share_of_the_disk(tmp_path):
    whole = cache_folder.parse_limit("100%", tmp_path / "not" / "there")
    assert cache_folder.parse_limit("25%", tmp_path) == whole // 4
    assert whole > 1e9
