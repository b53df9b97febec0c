"""Answering in an environment without TensorFlow: the image of docker/predict.Dockerfile, made by its own commands."""

import re
import shlex
import subprocess
import venv
from pathlib import Path

import pytest

from tests.support import tiny_export, tiny_litert

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "predict.Dockerfile"
ABSENT = ("tensorflow", "transformers", "pandas", "datasets", "tf_keras")


def installations() -> list[list[str]]:
    """The arguments of each ``pip install`` of the Dockerfile, for this checkout instead of the image's folders."""
    found = re.findall(r"^RUN pip install (.*)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    places = {"/tmp/": f"{ROOT}/docker/", "/src": str(ROOT)}
    commands = []
    for line in found:
        for there, here in places.items():
            line = line.replace(there, here)
        commands.append(shlex.split(line))
    return commands


@pytest.mark.slow
def test_the_dockerfiles_environment_predicts(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    assert len(installations()) == 2
    for arguments in installations():
        call = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        subprocess.run(call, check=True, capture_output=True, timeout=600)
    run = tiny_litert.export(tmp_path / "run")
    texts = tiny_export.texts(5)
    (tmp_path / "in.txt").write_text("\n".join(texts))
    for precision in ("float32", "int8"):
        call = [python, "-m", "sentiment_tf.predict", f"--model={run}", f"--input={tmp_path}/in.txt"]
        done = subprocess.run([*call, f"--precision={precision}"], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 5
    refused = subprocess.run(
        [python, "-m", "sentiment_tf.predict", f"--model={run}", "--engine=tensorflow", "x"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    script = f"import importlib.util; print([n for n in {ABSENT} if importlib.util.find_spec(n)])"
    assert subprocess.check_output([python, "-c", script], text=True) == "[]\n"
