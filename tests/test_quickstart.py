"""docs/quickstart.ipynb runs from top to bottom, offline, in the three minutes that it promises."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def outputs(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def processor_seconds() -> float:
    """What the processes that this one started and that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_stored_notebook_shows_its_plots_and_no_error():
    kinds = [output["output_type"] for output in outputs(NOTEBOOK)]
    assert "error" not in kinds
    assert sum("image/png" in output.get("data", {}) for output in outputs(NOTEBOOK)) >= 2
    assert str(ROOT) not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.slow
def test_it_runs_offline_in_time(tmp_path):
    copy = shutil.copy(NOTEBOOK, tmp_path)
    call = [sys.executable, "-m", "tests.notebook", str(copy)]
    before = processor_seconds()
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert processor_seconds() - before < 180  # of both cores together: other tests may run beside it
    assert [output for output in outputs(Path(copy)) if output.get("name") == "stderr"] == []
