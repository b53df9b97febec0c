"""The commands under one name."""

import subprocess
import sys
from pathlib import Path

import pytest

import sentiment_tf
from sentiment_tf.__main__ import COMMANDS

PACKAGE = Path(__file__).parents[1] / "sentiment_tf"


def call(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "sentiment_tf", *arguments], capture_output=True, text=True)


def test_every_command_module_is_listed():
    runnable = {path.stem for path in PACKAGE.glob("*.py") if "define_flags()\n    cli.run(main" in path.read_text()}
    assert set(COMMANDS) == runnable


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_without_a_command_the_commands_are_listed(arguments):
    done = call(*arguments)
    assert done.returncode == 0
    assert [name for name in COMMANDS if f"  {name}" not in done.stdout] == []


@pytest.mark.slow
def test_version():
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"sentiment-tf {sentiment_tf.__version__}\n")


@pytest.mark.slow
def test_an_unknown_command_is_one_line():
    done = call("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: trian: unknown command; choose from {', '.join(COMMANDS)}\n"


@pytest.mark.slow
def test_a_command_gets_the_arguments_behind_its_name():
    done = call("compare", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere: no run.json there;")


@pytest.mark.slow
def test_help_of_a_command_lists_its_flags():
    done = call("predict", "--help")
    assert done.returncode == 0
    assert "skip_bad_rows: Leave out" in done.stdout
