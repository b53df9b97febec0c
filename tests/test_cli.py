"""Mistakes in flags, through the real command."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def told(*arguments) -> list[str]:
    """Returns what `train` says to be wrong, a line each, sorted."""
    call = [sys.executable, "-m", "sentiment_tf.train", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    return sorted(done.stderr.splitlines())


def test_flags_that_do_not_parse_are_told_with_values_that_are_wrong(tmp_path):
    batch_size, dataset, epochs = told("--dataset=ssst2", "--epochs=x", "--batch_size=0", f"--output_dir={tmp_path}")
    assert batch_size.startswith("error: --batch_size=0: out of range")
    assert dataset.startswith("error: --dataset=ssst2: unknown")
    assert epochs.startswith("error: flag --epochs=x")
    assert "--help" in epochs
    assert not any(tmp_path.iterdir())


def test_every_bad_line_of_a_flagfile_is_told_with_the_file(tmp_path):
    path = tmp_path / "bad.flags"
    path.write_text("# two that do not parse, one out of range\n--epochs=x\n--datset=sst2\n--batch_size=0\n")
    for flagfile in ([f"--flagfile={path}"], ["--flagfile", path]):
        out_of_range, unknown, epochs, learning_rate = told(*flagfile, "--stages", "--learning_rate", "y")
        assert out_of_range.startswith("error: --batch_size=0: out of range")
        assert unknown.startswith(f"error: --flagfile={path}: Unknown command line flag 'datset'")
        assert epochs.startswith(f"error: --flagfile={path}: flag --epochs=x")
        assert learning_rate.startswith("error: flag --learning_rate=y")


def test_a_flagfile_that_is_not_there_is_told_with_the_rest():
    limit, flagfile = told("--flagfile=/nowhere.flags", "--limit=1")
    assert limit.startswith("error: --limit=1: out of range")
    assert "/nowhere.flags" in flagfile


def test_consequences_of_a_flag_that_does_not_parse_are_not_told():
    (problem,) = told("--dataset=sst2", "--epochs=x", "--early_stopping_patience=5")
    assert "--epochs=x" in problem
    (problem,) = told("--datset=sst2", "--stages")
    assert "datset" in problem
