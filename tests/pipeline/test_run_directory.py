"""The lock of a run's folder."""

import errno
import fcntl
import logging

import pytest

from sentiment_tf.errors import UserError
from sentiment_tf.pipeline.run_directory import RunDirectory


def test_a_run_that_is_being_built_is_refused_and_its_lock_leaves_nothing(tmp_path):
    output_dir = tmp_path / "made" / "for it"
    with RunDirectory(str(output_dir), "run").locked():
        with pytest.raises(UserError, match="another process is training this run"), _locked(output_dir, "run"):
            pass
        with _locked(output_dir, "other"):
            pass
    assert not any(tmp_path.iterdir())
    with _locked(output_dir, "run"):
        (output_dir / "run").mkdir()
    assert [path.name for path in output_dir.iterdir()] == ["run"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=f"--output_dir={tmp_path}/file: cannot be written"),
        _locked(tmp_path / "file", "run"),
    ):
        pass


def test_without_locks_a_warning_is_given(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    caplog.set_level(logging.WARNING, logger="sentiment_tf")
    with _locked(tmp_path, "run"):
        assert "has no locks" in caplog.text
    assert not any(tmp_path.iterdir())


def _locked(output_dir, run_name):
    return RunDirectory(str(output_dir), run_name).locked()
