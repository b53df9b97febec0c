"""Commands as a user starts them, in processes of their own, and settings of a run that takes seconds."""

import contextlib
import csv
import importlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from absl import flags

from sentiment_tf import cli
from sentiment_tf.exporting import verification
from tests.support import verifying_here
from tests.support.hub import sentences, tiny_model


def command(module: str, *arguments, environment=None) -> subprocess.CompletedProcess:
    return run_module(f"sentiment_tf.{module}", *arguments, environment=environment)


def run_module(module: str, *arguments, environment=None) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, env=os.environ | (environment or {}), timeout=600)


@contextlib.contextmanager
def flags_of(name: str) -> Iterator:
    """Defines a command's flags in this process for as long as the context lasts; yields its module."""
    module, before = importlib.import_module(f"sentiment_tf.{name}"), set(flags.FLAGS)
    module.define_flags()
    try:
        yield module
    finally:
        for added in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, added)
        flags.FLAGS.unparse_flags()


def train(*arguments, environment=None) -> subprocess.CompletedProcess:
    return command("train", *arguments, environment=environment)


def quick_train(*arguments, environment=None) -> subprocess.CompletedProcess:
    """Runs ``train`` in a process of its own that verifies its exports itself: a third faster than `train`."""
    return run_module("tests.support.quick_train", *arguments, environment=environment)


def train_here(*arguments) -> subprocess.CompletedProcess:
    """Runs ``train`` in this process, which has loaded TensorFlow already, and verifies the exports here, too.

    A fifth of the time of `train`. Tests about processes, signals and the start of the command use that.
    """
    call = ["train", *map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    log, handler = logging.getLogger("sentiment_tf"), signal.getsignal(signal.SIGTERM)
    before = log.handlers, log.level, log.propagate
    with (
        mock.patch.object(sys, "argv", call),
        mock.patch.object(verification, "fresh_process", verifying_here.fresh_process),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        warnings.catch_warnings(),
        flags_of("train") as module,
    ):
        warnings.simplefilter("default")
        try:
            cli.run(module.main)
        except SystemExit as end:
            code = end.code or 0
        finally:
            log.handlers, log.level, log.propagate = before
            signal.signal(signal.SIGTERM, handler)
            flags.FLAGS["verbosity"].unparse()
    return subprocess.CompletedProcess(call, code, stdout.getvalue(), stderr.getvalue())


def succeeded(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def write_csv(path: Path, count: int, *, seed: int, label=str) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([text, label(number)] for text, number in zip(*sentences(count, seed=seed), strict=True))
    return path


def own_texts(folder: Path) -> dict[str, Path]:
    """Writes a tiny model and own texts: {model, train, validation, cache}."""
    return {
        "model": tiny_model(folder / "model"),
        "train": write_csv(folder / "train.csv", 200, seed=1),
        "validation": write_csv(folder / "validation.csv", 60, seed=2),
        "cache": folder / "cache",
    }


def own_settings(own: dict[str, Path], output_dir: Path, **changed) -> dict:
    """Settings of a run on what `own_texts` wrote, as strings and numbers."""
    settings = {
        "train_file": str(own["train"]),
        "validation_file": str(own["validation"]),
        "model": str(own["model"]),
        "cache_dir": str(own["cache"]),
        "output_dir": str(output_dir),
        "run_name": "run",
        "max_length": 32,
        "learning_rate": 0.01,
    }
    return settings | changed


def own_flags(own: dict[str, Path], output_dir: Path, **changed) -> list[str]:
    return [f"--{name}={value}" for name, value in own_settings(own, output_dir, **changed).items()]
