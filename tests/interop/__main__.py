"""Opens a run's hf/ folder with today's libraries and compares their answers with the SavedModel's.

    make interop                          # trains a small model for it
    make interop RUN=saved_models/sst2    # a run of yours

`make interop` also makes the environments: .venv-interop (PyTorch, transformers) and node_modules beside this file
(transformers.js). Exits with 1 if an answer differs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.interop import browser, comparing, runs

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-interop" / "bin" / "python"
LOADING_WARNINGS = re.compile("missing|unexpected|mismatch|newly initialized", re.IGNORECASE)
ONNX_FILES = {"fp32": "model.onnx", "q8": "model_quantized.onnx"}  # by transformers.js' dtype; its names
COMPARE = {"fp32": comparing.probabilities, "q8": comparing.labels}
IN_BROWSER = slice(7, None, 8)  # of the texts, the last among them: the page runs the code that Node runs, more slowly


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run's folder; without it a small model is trained")
    given = parser.parse_args().run
    if given and not (given / "hf").is_dir():
        parser.error(f"--run={given}: no folder hf there; pass a finished run of sentiment_tf.train")
    findings = comparing.Findings()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if given is None:
            print("training a small model", flush=True)
        run = (given or runs.train(scratch)).absolute()
        expected = runs.expected(run)
        dtypes = _dtypes(findings, run, complete=given is None)
        for check in (_check_pytorch, _check_node, _check_browser):
            try:
                check(findings, run, expected, scratch, dtypes)
            except RuntimeError as error:
                findings.fail(str(error))
    print(_summary(findings, name=f"{given}/hf" if given else "hf/"))
    return 1 if findings.problems else 0


def _summary(findings: comparing.Findings, *, name: str) -> str:
    skipped = f"; NOT CHECKED: {' and '.join(findings.skipped)}" if findings.skipped else ""
    if findings.problems:
        return f"{name} differs from the SavedModel: {len(findings.problems)} checks failed{skipped}"
    return f"{name} gives the SavedModel's answers{skipped}"


def _check_pytorch(findings: comparing.Findings, run: Path, expected: runs.Expected, scratch: Path, _) -> None:
    """Loads the folder with transformers' pipeline, without any option."""
    answers, stderr = _ask([PYTHON, HERE / "in_pytorch.py", run / "hf"], expected, scratch)
    name = f"PyTorch ({answers['versions']})"
    if wrong := {kind: keys for kind, keys in answers["loading"].items() if keys}:
        findings.fail(f"{name}: weights that do not match: {wrong}")
    if LOADING_WARNINGS.search(stderr):
        findings.fail(f"{name}: warns while loading:\n{stderr}")
    comparing.ids(findings, name, expected, answers["ids"])
    comparing.probabilities(findings, name, expected, answers["probabilities"])


def _dtypes(findings: comparing.Findings, run: Path, *, complete: bool) -> list[str]:
    """Returns the dtypes that transformers.js finds a file for.

    Args:
      findings: gets the files that must be there and are not.
      run: the run's folder.
      complete: whether the run must have both files; of a run that is given, the export may have been
        chosen otherwise, or may have left out a quantised file that loses accuracy.
    """
    dtypes = []
    for dtype, name in ONNX_FILES.items():
        file = run / "hf" / "onnx" / name
        if file.is_file():
            dtypes.append(dtype)
        elif complete:
            findings.fail(f"hf/onnx/{name} is missing in the new run")
        else:
            findings.skip(f"transformers.js {dtype} in Node and in Chromium: the run has no hf/onnx/{name}")
    return dtypes


def _check_node(
    findings: comparing.Findings, run: Path, expected: runs.Expected, scratch: Path, dtypes: list[str]
) -> None:
    """Loads the folder with transformers.js in Node."""
    answers, _ = _ask(["node", HERE / "in_node.mjs", run], expected, scratch, *dtypes)
    _compare_javascript(findings, f"Node ({answers['versions']})", expected, answers, dtypes)
    if any(expected.cut) and "fp32" in dtypes:
        alone = comparing.difference_of_cut(expected, [answer["asIs"] for answer in answers["fp32"]])
        print(f"note    the pipeline of transformers.js itself cuts [SEP] off long texts, which changes by {alone:.1e}")


def _check_browser(
    findings: comparing.Findings, run: Path, expected: runs.Expected, _: Path, dtypes: list[str]
) -> None:
    """Loads the folder with transformers.js in a page."""
    some = comparing.subset(expected, list(range(len(expected.texts)))[IN_BROWSER])
    answers = browser.classify(run, some.texts, dtypes)
    _compare_javascript(findings, f"Chromium ({answers['versions']})", some, answers, dtypes)


def _compare_javascript(
    findings: comparing.Findings, name: str, expected: runs.Expected, answers: dict, dtypes: list[str]
) -> None:
    comparing.ids(findings, name, expected, answers["ids"], keeps_sep=False)
    for dtype in dtypes:
        found = [answer["probabilities"] for answer in answers[dtype]]
        COMPARE[dtype](findings, f"{name} {dtype}", expected, found)


def _ask(command: list, expected: runs.Expected, scratch: Path, *more: str) -> tuple[dict, str]:
    """Runs a script that reads texts from a file and writes its answers to another.

    Returns:
      (its answers, what it wrote to stderr).

    Raises:
      RuntimeError: it failed.
    """
    questions, answers = scratch / "texts.json", scratch / "answers.json"
    questions.write_text(json.dumps(expected.texts))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # the folder is enough
    done = subprocess.run(
        [*map(str, command), str(questions), str(answers), *more], stderr=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[1]).name} failed:\n{done.stderr}")
    return json.loads(answers.read_text()), done.stderr


if __name__ == "__main__":
    sys.exit(main())
