"""`predict --resume` after a cut anywhere gives the file of a run that was never cut."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiment_tf.inference import output_file, readers, scoring, writers
from sentiment_tf.inference.classifier import Classifier

LABELS = ("=bad", "good")
CELLS = st.text(max_size=8) | st.sampled_from(['"', "\n", "\r\n", "=1+1", "a,b", "\t", "good", "{", "\x00", "NaN"])
COLUMNS = ("id", "text")


class ByLength(Classifier):
    """Answers by the number of characters; needs no files."""

    label_names, max_length, engine, precision = LABELS, 8, "none", "float32"

    def begin(self, texts):
        return Done(self.logits(texts))

    def logits(self, texts):
        share = np.array([1 / (2 + len(text)) for text in texts], np.float32)
        return np.stack([share, 1 - share], axis=1).reshape(-1, 2)


class Done:
    def __init__(self, probabilities):
        self.result = lambda: probabilities

    def cancel(self):
        pass


def predict(path, rows, output_format, *, resume):
    form = writers.layout(output_format, columns=COLUMNS, label_names=LABELS)
    source = readers.Source(
        "rows", COLUMNS, (readers.Row(n, dict(zip(COLUMNS, row, strict=True)), row[1]) for n, row in enumerate(rows, 1))
    )
    good = scoring.GoodRows(source, form.refuse, skip=False)
    model = ByLength()
    done = scoring.pass_over_answered(model, good, form, str(path)) if resume and path.exists() else None
    with output_file.Output(str(path), append_at=done) as output:
        scoring.answer(model, good, form, output, lambda rows: None)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resumed")


@pytest.mark.parametrize("output_format", [*writers.FORMATS, writers.SAFE_CSV])
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6), cut=st.floats(0, 1))
@example(rows=[('"', "\n"), ("=1", "x")], cut=0.9)
def test_a_cut_output_goes_on_to_the_same_file(folder, output_format, rows, cut):
    path = folder / f"answers.{output_format}"
    path.unlink(missing_ok=True)
    whole = predict(path, rows, output_format, resume=False)
    path.write_bytes(whole[: int(cut * len(whole))])
    assert predict(path, rows, output_format, resume=True) == whole
