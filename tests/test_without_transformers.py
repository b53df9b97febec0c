"""Without transformers texts are tokenized, and exports written and asked; see docs/transformers-pin.md."""

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
from sentiment_tf.data import packaged, tokenization
from sentiment_tf.modeling import bert_tokenizer, encoder, features
from tests.support import tiny_export
tokenizer = bert_tokenizer.load(str(packaged.model_folder()), name="x", vocabulary_size=30_522)
assert tokenization.tokenize(tokenizer, ["a good film"], max_length=8).ids.tolist() == [101, 1037, 2204, 2143, 102]
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
