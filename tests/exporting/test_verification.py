import sys

import numpy as np
import pytest

from sentiment_tf.exporting import verification
from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from sentiment_tf.exporting.saved_model import fresh_process, verify
from tests.support import tiny_export

TEXTS = [*tiny_export.texts(20), *ODD_TEXTS]


@pytest.fixture(scope="module")
def logits(model):
    return model.logits(TEXTS)


def test_a_fresh_process_confirms_the_export(version, logits):
    with fresh_process() as process:
        found = verify(process, version, texts=TEXTS, expected_logits=logits)
    assert found["largest_difference"] < 1e-5
    assert found["bytes"] == sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    assert set(found["latency_ms"]) == {"1", "32"}
    assert min(found["latency_ms"].values()) > 0


@pytest.mark.parametrize("wrong", [0.01, np.nan])
def test_another_answer_fails_and_names_the_text(monkeypatch, version, model, logits, wrong):
    answer = {
        "logits": logits.tolist(),
        "probabilities": model.probabilities(TEXTS).tolist(),
        "latency_ms": {},
    }
    monkeypatch.setattr(verification, "_ask", lambda *_: answer)
    expected = logits.copy()
    expected[3, 1] += wrong
    with pytest.raises(RuntimeError) as raised:
        verify(None, version, texts=TEXTS, expected_logits=expected)
    assert "answers other than the trained model" in str(raised.value)
    assert repr(TEXTS[3][:80]) in str(raised.value)


def test_differences_by_hand():
    answer = {
        "logits": [[0.0, 0.0], [1.0, -1.0]],
        "probabilities": [[0.5, 0.5], [0.9, 0.1]],
    }
    # second row: softmax([1, -1]) = [0.880797, 0.119203]
    differences = verification.largest_differences(answer, np.array([[0.0, 0.25], [1.0, -1.0]]))
    np.testing.assert_allclose(differences, [0.25, 0.019203], atol=1e-6)


def test_a_process_that_fails_is_reported(monkeypatch, version, logits):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="does not answer"), fresh_process() as process:
        verify(process, version, texts=TEXTS, expected_logits=logits)
