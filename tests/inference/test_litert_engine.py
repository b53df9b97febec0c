import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sentiment_tf.data import packaged, tokenization
from sentiment_tf.errors import UserError
from sentiment_tf.inference import classifier
from sentiment_tf.inference.engines import litert
from sentiment_tf.inference.engines import tensorflow as saved_model
from sentiment_tf.modeling import bert_tokenizer
from tests.support import tiny_export, tiny_litert
from tests.support.hard_strings import HARD_STRINGS
from tests.support.reviews import packaged_reviews

PRECISIONS = ["float32", "int8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run; tests must not change it."""
    return tiny_litert.export(tmp_path_factory.mktemp("litert") / "run")


@pytest.fixture(scope="module", params=PRECISIONS)
def model(run, request):
    return litert.load(run, precision=request.param)


@pytest.fixture
def copy(run, tmp_path):
    """A run that a test may damage."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The same weights as a SavedModel, which is asked for the right answers."""
    return saved_model.load(tiny_export.export(tmp_path_factory.mktemp("saved") / "1"))


def texts_of_all_kinds():
    return [*tiny_export.texts(200), *(text for text in HARD_STRINGS if len(text) < 10_000)]


def test_knows_what_it_was_exported_with(model):
    assert model.label_names == tiny_export.LABEL_NAMES
    assert model.max_length == tiny_export.MAX_LENGTH


def test_float32_answers_as_the_saved_model_does(run, exported):
    model, texts = litert.load(run), texts_of_all_kinds()
    np.testing.assert_allclose(model.logits(texts), exported.logits(texts), atol=1e-4)
    labels, probabilities = model.predict(texts)
    expected_labels, expected = exported.predict(texts)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert labels == expected_labels
    assert set(labels) == set(tiny_export.LABEL_NAMES)


def test_int8_answers_nearly_so(run, exported):
    texts = tiny_export.texts(300)
    difference = np.abs(litert.load(run, precision="int8").probabilities(texts) - exported.probabilities(texts))
    assert 0 < difference.mean() < 0.05


def test_an_answer_does_not_depend_on_its_neighbours(model):
    texts = tiny_export.texts(60)
    alone = np.concatenate([model.probabilities([text]) for text in texts])
    np.testing.assert_allclose(model.probabilities(texts), alone, atol=1e-5)


def test_predicts_any_number_of_texts_in_their_order(model, monkeypatch):
    texts = tiny_export.texts(50)
    expected = np.concatenate([model.probabilities([text]) for text in texts])
    monkeypatch.setattr(classifier, "TEXTS_AT_ONCE", 8)
    labels, probabilities = model.predict(texts)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert labels == [tiny_export.LABEL_NAMES[best] for best in expected.argmax(axis=1)]


def test_predicts_nothing_for_no_texts(model):
    labels, probabilities = model.predict([])
    assert labels == []
    assert probabilities.shape == model.logits([]).shape == (0, 3)
    assert probabilities.dtype == np.float32


def test_bytes_and_half_a_character_are_texts_too(model):
    expected = model.probabilities(["good film", "good film", ""])
    np.testing.assert_allclose(
        model.probabilities([b"good \xfffilm", "good\ud83d film", "\udcff"]), expected, atol=1e-6
    )


def test_streams_in_order_and_reads_only_a_little_ahead(model):
    taken = []

    def requests():
        for number in range(20):
            taken.append(number)
            yield tiny_export.texts(number)

    answers = model.stream(requests())
    assert next(answers).shape == (0, 3)
    assert len(taken) <= 4
    for number, answer in enumerate(answers, 1):
        np.testing.assert_allclose(answer, model.probabilities(tiny_export.texts(number)), atol=1e-5)


def test_small_and_large_requests_may_take_turns_and_come_from_several_threads(model):
    requests = [tiny_export.texts(count, seed=count) for count in (1, 40, 1, 0, 90, 2, 1)]
    expected = [
        np.concatenate([np.zeros([0, 3]), *(model.probabilities([text]) for text in texts)]) for texts in requests
    ]
    with ThreadPoolExecutor(3) as pool:
        answers = [
            *map(model.probabilities, requests),
            *model.stream(requests),
            *pool.map(model.probabilities, requests),
        ]
    for answer, want in zip(answers, expected * 3, strict=True):
        np.testing.assert_allclose(answer, want, atol=1e-5)


@pytest.mark.parametrize("cores", [1, 2, 3, 20])
def test_any_number_of_cores(run, cores):
    texts = tiny_export.texts(40)
    expected = litert.load(run, cores=2).probabilities(texts)
    np.testing.assert_allclose(litert.load(run, cores=cores).probabilities(texts), expected, atol=1e-5)


def test_line_breaks_are_cleaned_as_in_training(model):
    assert model.tokenize(["a<br />b<BR>a<br\n/>", "a <b> br>"]) == model.tokenize(["a b a ", "a < b > br >"])
    # RE2, which cleans for training, does not take a vertical tab for white space
    assert model.tokenize(["a<br\x0b/>b"]) != model.tokenize(["a b"])


def differing(folder, texts, *, max_length):
    """The texts that training and the engine cut differently."""
    trained_with = bert_tokenizer.load(str(folder), name="x", vocabulary_size=30_522)
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    tokens = tokenization.tokenize(trained_with, clean, max_length=max_length)
    expected = np.split(tokens.ids, tokens.offsets[1:-1])
    engine = litert.load(folder)
    assert engine.max_length == max_length
    rows = engine.tokenize(texts)
    return [text for text, ids, want in zip(texts, rows, expected, strict=True) if ids != want.tolist()]


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory):
    """Makes a LiteRT folder with the packaged model's tokenizer, as a run saves it, for a maximum length."""

    def make(max_length, **settings):
        folder = tmp_path_factory.mktemp("real")
        tokenizer = bert_tokenizer.load(str(packaged.model_folder()), name="x", vocabulary_size=30_522)
        # what training leaves in the tokenizer's settings must not matter
        tokenization.tokenize(tokenizer, ["good"], max_length=7)
        tokenizer.save(str(folder / "tokenizer.json"))
        tiny_litert.export(folder, tokenizer=tokenization.portable(tokenizer), max_length=max_length, **settings)
        return folder

    return make


@pytest.mark.parametrize(
    "max_length", [2, 16, pytest.param(3, marks=pytest.mark.slow), pytest.param(512, marks=pytest.mark.slow)]
)
def test_hard_strings_are_cut_as_in_training(real_folder, max_length):
    assert differing(real_folder(max_length), HARD_STRINGS, max_length=max_length) == []


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_packaged_reviews_are_cut_as_in_training(real_folder, every):
    texts = packaged_reviews()[::every]
    assert differing(real_folder(128), texts, max_length=128) == []


IN_A_FRESH_PROCESS = """
import json, sys
from sentiment_tf.inference import classifier
from sentiment_tf.inference.engines import litert
labels, probabilities = litert.load(sys.argv[1], precision=sys.argv[2]).predict(["good film", "bad"] * 20)
heavy = {"tensorflow", "tf_keras", "keras", "transformers", "pandas", "datasets", "pyarrow", "sklearn", "torch"}
print(json.dumps([labels[0], len(labels), sorted(heavy & {name.split(".")[0] for name in sys.modules})]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_neither_tensorflow_nor_anything_large_is_imported_and_stderr_stays_empty(run, precision):
    command = [sys.executable, "-W", "error", "-c", IN_A_FRESH_PROCESS, str(run), precision]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": os.curdir}
    )
    label = litert.load(run, precision=precision).predict(["good film"])[0][0]
    assert json.loads(done.stdout) == [label, 40, []]
    assert done.stderr == ""


def test_the_folder_itself_may_be_named(run):
    assert litert.load(run / "litert").label_names == tiny_export.LABEL_NAMES


def problem(path, **settings):
    with pytest.raises(UserError) as caught:
        litert.load(path, **settings)
    (line,) = caught.value.problems
    return line


def test_nothing_there(tmp_path):
    assert "no such folder" in problem(tmp_path / "none")
    assert "holds no LiteRT export (litert/model.tflite); pass a run whose --exports include litert" in problem(
        tmp_path
    )


def test_a_precision_that_was_not_made(copy):
    (copy / "litert" / "model_int8.tflite").unlink()
    assert "has no model_int8.tflite; pass --precision=float32" in problem(copy, precision="int8")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_damage_beside_the_model(copy, name, content):
    path = copy / "litert" / name
    path.unlink() if content is None else path.write_bytes(content)
    assert "is damaged or of another program" in problem(copy)


@pytest.mark.parametrize("part", [0, 0.3, 0.99])
def test_half_a_model(copy, part):
    path = copy / "litert" / "model.tflite"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "is damaged or of another program" in problem(copy)


def test_a_model_of_other_classes(copy):
    tiny_litert.edit_config(copy, label_names=["NEGATIVE", "POSITIVE"])
    assert "the model has 3 classes, config.json names 2" in problem(copy)


@pytest.mark.parametrize("names", [["a", "b\tc", "d"], ["a", "b\n", "d"], ["a", 1, "d"], 3, None])
def test_labels_that_would_break_the_lines_of_answers(copy, names):
    path = copy / "litert" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"label_names": names}))
    assert "is damaged or of another program" in problem(copy)


def test_a_file_of_another_program(copy, tmp_path):
    from sentiment_tf.modeling.tflite_graph import Graph

    graph = Graph()
    x = graph.input("x", [1, 2], np.float32)
    (y,) = graph.add("ADD", [x, x], [1, 2])
    graph.write(copy / "litert" / "model.tflite", inputs={"x": x}, outputs={"y": y})
    assert "its inputs are ['x']" in problem(copy)


@pytest.mark.parametrize("package", ["tokenizers", "ai_edge_litert.interpreter"])
def test_a_package_that_is_not_installed(run, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    line = problem(run)
    assert package in line
    assert "pip install ai-edge-litert tokenizers" in line


def test_says_that_it_has_no_gradients(model):
    with pytest.raises(UserError, match="--explain: --engine=litert has no gradients; pass --engine=tensorflow"):
        model.explain(["good"])
