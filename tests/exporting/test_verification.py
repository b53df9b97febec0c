import sys

import numpy as np
import pytest

from sentiment_tf.exporting import verification
from sentiment_tf.exporting.odd_texts import ODD_TEXTS
from sentiment_tf.exporting.verification import Answers, fresh_process
from tests.support import tiny_export, tiny_litert

TEXTS = [*tiny_export.texts(20), *ODD_TEXTS]


@pytest.fixture(scope="module")
def logits(model):
    return model.logits(TEXTS)


@pytest.mark.slow
def test_a_fresh_process_confirms_exports_and_measures_them(version, logits, tmp_path):
    litert = tiny_litert.export(tmp_path / "run") / "litert"
    with fresh_process(TEXTS, sample=TEXTS[:7]) as process:
        process.begin("saved_model", "float32", version)
        process.begin("litert", "float32", litert)
        process.begin("litert", "int8", litert)
        for name in ("saved_model", "litert"):
            answers = process.answers(name, "float32")
            differences = verification.largest_differences(answers, logits)
            assert verification.problem(differences, TEXTS, name=name) is None
            assert len(answers.sample_logits) == 0
        quantised = process.answers("litert", "int8")
        speeds = process.speeds()
    np.testing.assert_array_equal(quantised.sample_logits, quantised.logits[:7])
    # Near on the whole; a single text can go another way through layers of random weights.
    assert 0 < np.abs(quantised.logits - logits).mean() < 0.1 * np.std(logits)
    assert set(speeds) == {("saved_model", "float32"), ("litert", "float32"), ("litert", "int8")}
    for row in speeds.values():
        assert set(row["latency_ms"]) == {"1", "32"}
        assert min(row["latency_ms"].values()) > 0
        assert row["texts_per_second"] > 0


@pytest.mark.parametrize("wrong", [0.01, np.nan])
def test_another_answer_fails_and_names_the_text(model, logits, wrong):
    answers = Answers(logits, model.probabilities(TEXTS), logits[:0])
    expected = logits.copy()
    expected[3, 1] += wrong
    problem = verification.problem(verification.largest_differences(answers, expected), TEXTS, name="LiteRT")
    assert problem.startswith("the output of the LiteRT export differs from the trained model's by ")
    assert repr(TEXTS[3][:80]) in problem


def test_differences_by_hand():
    answers = Answers(np.array([[0.0, 0.0], [1.0, -1.0]]), np.array([[0.5, 0.5], [0.9, 0.1]]), np.empty([0, 2]))
    # second row: softmax([1, -1]) = [0.880797, 0.119203]
    differences = verification.largest_differences(answers, np.array([[0.0, 0.25], [1.0, -1.0]]))
    np.testing.assert_allclose(differences, [0.25, 0.019203], atol=1e-6)


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_reported(tmp_path):
    with fresh_process(TEXTS) as process:
        process.begin("litert", "float32", tmp_path)
        with pytest.raises(RuntimeError, match="the litert export does not answer") as raised:
            process.answers("litert", "float32")
    assert "holds no LiteRT export" in str(raised.value)


def test_a_process_that_dies_is_reported(monkeypatch, version):
    monkeypatch.setattr(sys, "executable", "false")
    with fresh_process(TEXTS) as process:
        process.begin("saved_model", "float32", version)
        with pytest.raises(RuntimeError, match="does not answer"):
            process.answers("saved_model", "float32")
