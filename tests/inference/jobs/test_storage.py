import contextlib
import hashlib

import fsspec
import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.inference.jobs import storage

FILES = ("a.csv", "b.txt", "_notes.csv", ".hidden.csv", "x/c.csv", "x/y/d.csv", "_old/e.csv")


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def found(pattern):
    place, files = storage.find_files(str(pattern))
    return [name for name, _ in files]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv"]),
        ("?.*", ["a.csv", "b.txt"]),
        ("[ab].*", ["a.csv", "b.txt"]),
        ("[!a].*", ["b.txt"]),
        ("*/*.csv", ["x/c.csv"]),
        ("**/*.csv", ["a.csv", "x/c.csv", "x/y/d.csv"]),
        ("**/d.csv", ["x/y/d.csv"]),
        ("x/**/*.csv", ["c.csv", "y/d.csv"]),
        ("", ["a.csv", "b.txt", "x/c.csv", "x/y/d.csv"]),
        ("a.csv", ["a.csv"]),
        ("x", ["c.csv", "y/d.csv"]),
    ],
)
def test_patterns_and_folders(folder, pattern, expected):
    assert found(folder / pattern) == expected


def test_a_relative_path_begins_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert found("*.csv") == found("a.csv") == ["a.csv"]


def test_uris_of_pyarrow(folder):
    assert found(f"file://{folder}/**/*.csv") == ["a.csv", "x/c.csv", "x/y/d.csv"]


def test_uris_of_fsspec():
    memory = fsspec.filesystem("memory")
    for name in FILES:
        memory.pipe(f"/reviews/{name}", name.encode())
    assert found("memory://reviews/**/*.csv") == ["a.csv", "x/c.csv", "x/y/d.csv"]
    assert found("memory://reviews/a.csv") == ["a.csv"]
    place = storage.locate("memory://scored", "--output")
    storage.write_json(place, "x/y.json", [1])
    assert storage.read_json(place / "x/y.json", "--output") == [1]
    memory.rm("/reviews", recursive=True)
    memory.rm("/scored", recursive=True)


@pytest.mark.parametrize("name", ["*.parquet", "none", "none/*.csv"])
def test_nothing_there(folder, name):
    with pytest.raises(UserError, match=r"--input=.*: no file matches"):
        found(folder / name)


def test_an_unknown_scheme():
    with pytest.raises(UserError, match=r"--input=what://x: .*pass a path, s3://"):
        found("what://x")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    place = storage.locate(str(tmp_path), "--output")
    with contextlib.suppress(ZeroDivisionError), storage.new_file(place) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert list((tmp_path / "_partial").iterdir()) == []
    with storage.new_file(place) as file:
        file.write(b"whole")
        assert not (tmp_path / "a" / "b").exists()
        file.rename(place / "a/b")
    assert (tmp_path / "a" / "b").read_bytes() == b"whole"
    assert file.bytes == 5
    assert file.sha256 == hashlib.sha256(b"whole").hexdigest()


def test_json(tmp_path):
    place = storage.locate(str(tmp_path), "--output")
    assert storage.read_json(place / "x.json", "--output") is None
    storage.write_json(place, "x.json", {"é": [1]})
    assert storage.read_json(place / "x.json", "--output") == {"é": [1]}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"--output: .*x.json cannot be read"):
        storage.read_json(place / "x.json", "--output")
