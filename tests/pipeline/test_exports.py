"""Which formats a run writes, and what becomes of those that fall short; the fresh process is a stand-in here."""

import contextlib

import numpy as np
import pytest

from sentiment_tf.config import TrainConfig, resolve
from sentiment_tf.errors import UserError
from sentiment_tf.exporting import formats, verification
from sentiment_tf.exporting.verification import Answers
from sentiment_tf.pipeline import exports, launch, setup
from sentiment_tf.pipeline.run_directory import RunDirectory
from sentiment_tf.system.timing import Clock
from tests.support.commands import own_settings
from tests.support.verifying_here import VerifyingHere


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("hf,tensorrt", "--exports=hf,tensorrt: tensorrt is not known; choose from saved_model, hf, litert, onnx"),
        (",", "--exports=,: names no format"),
        ("onnx", "--exports=onnx: the ONNX files belong to the transformers folder; add hf"),
    ],
)
def test_formats_that_cannot_be_written_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        formats.parse(names)


def test_formats_come_in_their_own_order():
    assert [each.name for each in formats.parse("litert, hf")] == ["hf", "litert"]


class AnswersWrong(VerifyingHere):
    """What it says of int8 files, and of one format, is wrong on purpose."""

    def __init__(self, texts, sample, *, wrong):
        super().__init__(texts, sample)
        self.wrong = wrong

    def answers(self, name, precision):
        right = super().answers(name, precision)
        logits = right.logits + (1.0 if name == self.wrong else 0.0)
        logits = -logits if precision == "int8" else logits
        return Answers(logits, right.probabilities, -right.sample_logits)


def export(own, folder, monkeypatch, *, wrong=None, **settings):
    """Exports the untrained tiny model; returns the rows and the run's folder."""

    @contextlib.contextmanager
    def fresh_process(texts, *, sample):
        yield AnswersWrong(texts, sample, wrong=wrong)

    monkeypatch.setattr(verification, "fresh_process", fresh_process)
    config = resolve(TrainConfig(**own_settings(own, folder, **settings)))
    clock = Clock()
    state = setup.prepare(config, launch.read(config, clock), clock)
    directory = RunDirectory(config.output_dir, config.run_name)
    directory.building.mkdir(parents=True)
    labels = state.labels["validation"]
    logits = np.eye(2, dtype=np.float32)[labels]  # the trained model is right everywhere
    return exports.export(config, state, directory, logits, temperature=2.0), directory.building


def test_an_int8_file_that_loses_accuracy_is_left_out(own, tmp_path, monkeypatch):
    rows, run = export(own, tmp_path, monkeypatch, exports="hf,litert,onnx")
    of_int8 = [row for row in rows if row["precision"] == "int8"]
    assert [row["format"] for row in of_int8] == ["litert", "onnx"]
    for row in of_int8:
        assert row["rows"] == 60
        lost = 100 * (1 - row["accuracy"])
        assert row["accuracy_difference"] == pytest.approx(-lost / 100)
        assert f"it loses {lost:.1f} points of accuracy (--quantization_tolerance=0.5)" in row["problem"]
    assert not list(run.rglob("*int8*")) + list(run.rglob("*quantized*"))
    assert (run / "litert" / "model.tflite").exists()
    assert (run / "hf" / "onnx" / "model.onnx").exists()


def test_the_tolerance_is_the_users(own, tmp_path, monkeypatch):
    rows, run = export(own, tmp_path, monkeypatch, exports="litert", quantization_tolerance=100)
    assert [row["problem"] for row in rows] == [None, None]
    assert {path.name for path in run.iterdir()} == {"litert"}
    assert {path.name for path in (run / "litert").glob("*.tflite")} == {"model.tflite", "model_int8.tflite"}
    assert rows[0]["bytes"] == (run / "litert" / "model.tflite").stat().st_size
    assert rows[0]["largest_difference"] < 1e-4


@pytest.mark.slow
def test_a_format_with_other_answers_is_left_out(own, tmp_path, monkeypatch):
    rows, run = export(
        own, tmp_path, monkeypatch, wrong="litert", exports="saved_model,litert", quantization_tolerance=100
    )
    problems = {row["format"]: row["problem"] for row in rows if row["precision"] == "float32"}
    assert problems["saved_model"] is None
    assert problems["litert"].startswith("LiteRT is left out: the output of the LiteRT export differs")
    assert {path.name for path in run.iterdir()} == {"1"}


@pytest.mark.slow
def test_a_saved_model_with_other_answers_ends_the_run(own, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="the output of the SavedModel export differs from the trained model's by 1"):
        export(own, tmp_path, monkeypatch, wrong="saved_model", exports="saved_model")
