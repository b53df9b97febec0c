import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from sentiment_tf.errors import UserError
from sentiment_tf.inference import classifier, engines
from sentiment_tf.inference.engines import tensorflow as saved_model
from tests.support import tiny_export


@pytest.fixture
def copy(version, tmp_path):
    """A run with one version that a test may damage."""
    shutil.copytree(version, tmp_path / "run" / "1")
    return tmp_path / "run"


def test_knows_what_it_was_exported_with(model):
    assert model.label_names == tiny_export.LABEL_NAMES
    assert model.max_length == tiny_export.MAX_LENGTH


def test_predicts_any_number_of_texts_in_their_order(model, monkeypatch):
    texts = tiny_export.texts(50)
    expected = np.concatenate([model.probabilities([text]) for text in texts])
    monkeypatch.setattr(classifier, "TEXTS_AT_ONCE", 8)
    labels, probabilities = model.predict(texts)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert labels == [tiny_export.LABEL_NAMES[best] for best in expected.argmax(axis=1)]


def test_predicts_nothing_for_no_texts(model):
    labels, probabilities = model.predict([])
    assert labels == []
    assert probabilities.shape == (0, 3)
    assert probabilities.dtype == np.float32


def test_bytes_and_half_a_character_are_texts_too(model):
    expected = model.probabilities(["good film", "good film", ""])
    np.testing.assert_allclose(model.probabilities([b"good film", "good\ud83d film", "\udcff"]), expected, atol=1e-6)


def test_streams_in_order_and_reads_only_a_little_ahead(model):
    taken = []

    def requests():
        for number in range(20):
            taken.append(number)
            yield ["good"] * number

    answers = model.stream(requests())
    assert next(answers).shape == (0, 3)
    assert len(taken) <= 4
    assert [len(answer) for answer in answers] == list(range(1, 20))


def test_softmax_of_the_logits_is_the_probabilities(model):
    logits = model.logits(["good film", "bad"])
    scaled = np.exp(logits)
    np.testing.assert_allclose(
        model.probabilities(["good film", "bad"]), scaled / scaled.sum(axis=1, keepdims=True), atol=1e-5
    )


def test_finds_a_run_below_home(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(copy.parent))
    assert saved_model.find("~/run") == copy / "1"


def test_finds_the_newest_version_of_a_run_a_version_and_a_bare_saved_model(copy, tmp_path):
    for number in ("2", "10"):
        shutil.copytree(copy / "1", copy / number)
    (copy / "hf").mkdir()
    assert saved_model.find(copy) == copy / "10"
    assert saved_model.find(copy / "2") == copy / "2"
    shutil.copytree(copy / "1", tmp_path / "anywhere")
    assert saved_model.find(tmp_path / "anywhere") == tmp_path / "anywhere"


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        saved_model.load(tmp_path / "none")


def test_a_folder_without_a_saved_model(tmp_path):
    (tmp_path / "hf").mkdir()
    with pytest.raises(UserError, match="holds no SavedModel"):
        saved_model.load(tmp_path)


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
@pytest.mark.parametrize("cut", [0, 100])
def test_a_half_written_saved_model(copy, file, cut):
    whole = (copy / "1" / file).read_bytes()
    (copy / "1" / file).write_bytes(whole[:cut])
    with pytest.raises(UserError) as raised:
        saved_model.load(copy)
    assert "is not a whole SavedModel" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_variables(copy):
    shutil.rmtree(copy / "1" / "variables")
    with pytest.raises(UserError, match="is not a whole SavedModel"):
        saved_model.load(copy)


def test_a_saved_model_of_something_else(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([], tf.float32)])
    tf.saved_model.save(module, str(tmp_path), signatures={"doubling": module.double})
    with pytest.raises(UserError, match=r"not written by sentiment_tf.train \(its signatures: doubling\)"):
        saved_model.load(tmp_path)


def test_explains_with_the_runs_weights_for_transformers(copy):
    tiny_export.export_hf(copy / "hf")
    model = saved_model.load(copy)
    texts = tiny_export.texts(6)
    labels, probabilities = model.predict(texts)
    for found, label, each in zip(model.explain(texts), labels, probabilities, strict=True):
        assert found.label == label
        np.testing.assert_allclose(found.probabilities, each, atol=1e-4)
        assert sum(word.weight for word in found.words) == pytest.approx(found.log_odds - found.baseline, abs=1e-4)
    assert saved_model.load(copy / "1").explain([]) == []


def test_does_not_explain_with_the_weights_of_another_version(copy):
    tiny_export.export_hf(copy / "hf", weights=tiny_export.weights(seed=8))
    with pytest.raises(UserError, match="hf holds another model than .*1; pass the run's newest version"):
        saved_model.load(copy / "1").explain(["good film"])


def test_explains_only_in_float32(copy):
    tiny_export.export_hf(copy / "hf")
    with pytest.raises(UserError, match="--precision=bfloat16: explanations need float32"):
        saved_model.load(copy, precision="bfloat16").explain(["good"])


def test_a_run_from_before_there_were_other_exports_answers_with_auto(copy, model):
    (copy / "1" / "MANIFEST").unlink()
    for engine in ("auto", "tensorflow"):
        loaded = engines.load(copy, engine=engine)
        assert (loaded.engine, loaded.precision) == ("tensorflow", "float32")
        np.testing.assert_array_equal(loaded.probabilities(["good film"]), model.probabilities(["good film"]))


@pytest.mark.parametrize(
    ("engine", "precision", "advice"),
    [
        ("litert", "float32", "pass a run whose --exports include litert, or --engine=tensorflow"),
        ("litert", "int8", "pass a run whose --exports include litert, or leave out --precision"),
        ("auto", "int8", "pass a run whose --exports include litert, or leave out --precision"),
        ("litert", "bfloat16", "--engine=litert has float32, int8"),
        ("tensorflow", "int8", "--engine=tensorflow has float32, bfloat16"),
        ("auto", "bfloat16", "pass the folder of a run whose --exports include hf"),
        ("tensorflow", "bfloat16", "pass the folder of a run whose --exports include hf"),
    ],
)
def test_a_run_from_before_there_were_other_exports_refuses_them_in_one_line(copy, engine, precision, advice):
    with pytest.raises(UserError) as raised:
        engines.load(copy, engine=engine, precision=precision)
    assert str(raised.value).endswith(advice)
    assert "\n" not in str(raised.value)


def test_weights_under_the_names_of_an_older_version_are_refused(copy):
    tiny_export.export_hf(copy / "hf")
    weights = copy / "hf" / "model.safetensors"
    old = {"distilbert/embeddings/weight:0": np.zeros([4000], np.float32)}
    weights.write_bytes(safetensors.numpy.save(old))
    with pytest.raises(UserError, match="hf: lacks 'distilbert.embeddings.*'.*their SavedModel answers, in float32"):
        saved_model.load(copy, precision="bfloat16")
    with pytest.raises(UserError, match="hf: lacks "):
        saved_model.load(copy).explain(["good film"])
