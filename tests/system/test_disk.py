"""Files and folders that are whole or absent, and locks that end with their process."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import filelock
import pytest

from sentiment_tf.system import disk

KILLED_WHILE_BUILDING = """
import os, pathlib, signal, sys
from sentiment_tf.system import disk
with disk.atomic_folder(pathlib.Path(sys.argv[1])) as building:
    (building / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(monkeypatch, request):
    """A file system that supports no locks."""

    def flock(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file.json"
    assert disk.atomic_write(path, lambda file: file.write(b"old")) == path
    disk.atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        disk.atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.json"]


def test_a_name_may_hold_the_checksum_of_the_content(tmp_path):
    path = disk.atomic_write(tmp_path / "7.npz", lambda file: file.write(b"content"), with_checksum=True)
    assert path.name == f"7-{disk.checksum(path)}.npz"
    assert names(tmp_path) == [path.name]


def test_a_folder_appears_when_it_is_filled(tmp_path):
    with disk.atomic_folder(tmp_path / "entry") as building:
        (building / "file").write_text("content")
        assert not (tmp_path / "entry").exists()
    assert names(tmp_path) == ["entry"]
    assert names(tmp_path / "entry") == ["file"]


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path):
    def fill():
        with disk.atomic_folder(tmp_path / "entry") as building:
            (building / "file").write_text("content")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fill()
    assert names(tmp_path) == []


def test_of_two_that_build_the_same_folder_the_first_is_kept(tmp_path):
    with disk.atomic_folder(tmp_path / "entry") as second:
        (second / "second").touch()
        with disk.atomic_folder(tmp_path / "entry") as first:
            (first / "first").touch()
    assert names(tmp_path) == ["entry"]
    assert names(tmp_path / "entry") == ["first"]


@pytest.mark.slow
def test_leftovers_of_a_killed_process_are_deleted_and_those_of_a_living_one_are_not(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_BUILDING, str(tmp_path / "killed")])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".killed-")
    with disk.atomic_folder(tmp_path / "alive") as building:
        disk.delete_leftovers(tmp_path)
        assert names(tmp_path) == [building.parent.name]
    assert names(tmp_path) == ["alive"]


@pytest.mark.parametrize("moment", ["before it is locked", "while its lock is waited for"])
def test_a_folder_that_another_process_deletes_at_once_is_made_again(tmp_path, monkeypatch, moment):
    make, made = disk.tempfile.mkdtemp, []

    def make_and_lose(**settings):
        made.append(make(**settings))
        if len(made) == 1 and moment == "before it is locked":
            disk.delete_leftovers(tmp_path)
            assert not os.path.exists(made[0])
        return made[-1]

    flock, tried = fcntl.flock, []

    def flock_and_lose(descriptor, operation):
        tried.append(operation)
        if len(tried) == 1 and moment == "while its lock is waited for":
            shutil.rmtree(made[0])
            raise BlockingIOError(errno.EWOULDBLOCK, "held by the process that deletes it")
        return flock(descriptor, operation)

    monkeypatch.setattr(disk.tempfile, "mkdtemp", make_and_lose)
    monkeypatch.setattr(fcntl, "flock", flock_and_lose)
    with disk.atomic_folder(tmp_path / "entry") as building:
        (building / "file").touch()
    assert names(tmp_path) == ["entry"]
    assert names(tmp_path / "entry") == ["file"]


def test_a_lock_is_held_by_one_and_free_again_when_it_is_deleted_and_released(tmp_path):
    path = tmp_path / "lock"
    first = disk.acquire_lock(path)
    assert first.is_locked
    with pytest.raises(filelock.Timeout):
        disk.acquire_lock(path)
    path.unlink()
    first.release()
    assert disk.acquire_lock(path).is_locked


def test_where_nothing_can_be_locked_nothing_is_deleted(tmp_path, no_locks):
    (tmp_path / ".entry-abc").mkdir()
    assert not disk.acquire_lock(tmp_path / "lock").is_locked
    disk.delete_leftovers(tmp_path)
    assert (tmp_path / ".entry-abc").exists()
    with disk.atomic_folder(tmp_path / "entry") as building:
        (building / "file").touch()
    assert names(tmp_path / "entry") == ["file"]
