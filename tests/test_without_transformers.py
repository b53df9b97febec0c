"""Exports are written, and answer, in a process that cannot import transformers; see docs/transformers-pin.md."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
sys.modules["transformers"] = None  # every import of it raises ImportError
from sentiment_tf.exporting import formats, verification
from sentiment_tf.inference import engines
from sentiment_tf.modeling import encoder, features
from tests.support import tiny_export
run = Path(sys.argv[1])
for form in formats.FORMATS:
    form.write(tiny_export.bundle(), form.path(run, 1))
answers = {}
for engine, precision in (("litert", "float32"), ("litert", "int8"), ("tensorflow", "float32")):
    labels, _ = engines.load(run, engine=engine, precision=precision).predict(["a good film", "bad"])
    answers[engine, precision] = labels
assert len(set(map(tuple, answers.values()))) == 1, answers
"""


@pytest.mark.slow
def test_exports_are_written_and_answer(tmp_path):
    call = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    done = subprocess.run(call, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
