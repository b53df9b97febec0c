"""What a SavedModel's caller relies on."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the graph

from sentiment_tf.exporting.graph_tokenizer import GraphTokenizer
from sentiment_tf.modeling import encoder
from tests.support import tiny_export

TEXTS = tiny_export.texts(1000)


@pytest.fixture(scope="module")
def loaded(version):
    return tf.saved_model.load(str(version))


def ask(loaded, texts):
    answer = loaded.signatures["serving_default"](text=tf.constant(texts, tf.string, shape=[len(texts)]))
    return {name: value.numpy() for name, value in answer.items()}


def in_training(texts):
    """Logits of the very weights, without the SavedModel."""
    ids, mask = GraphTokenizer(tiny_export.VOCABULARY, True, tiny_export.MAX_LENGTH)(tf.constant(texts))
    weights = tf.nest.map_structure(tf.constant, tiny_export.weights())
    return encoder.logits(weights, ids, mask, heads=tiny_export.HEADS).numpy()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_signatures(loaded):
    assert set(loaded.signatures) == {"serving_default", "tokens"}
    default, tokens = loaded.signatures["serving_default"], loaded.signatures["tokens"]
    assert default.structured_input_signature[1] == {"text": tf.TensorSpec([None], tf.string, "text")}
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in default.structured_outputs.items()} == {
        "label": (tf.string, [None]),
        "probability": (tf.float32, [None]),
        "probabilities": (tf.float32, [None, 3]),
    }
    assert tokens.structured_input_signature[1] == {
        name: tf.TensorSpec([None, None], tf.int32, name) for name in ("input_ids", "attention_mask")
    }
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in tokens.structured_outputs.items()} == {
        "logits": (tf.float32, [None, 3]),
        "probabilities": (tf.float32, [None, 3]),
    }


def test_text_gets_the_probabilities_of_the_weights(loaded):
    answer = ask(loaded, TEXTS[:20])
    expected = softmax(in_training(TEXTS[:20]))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(answer["probability"], expected.max(axis=1), atol=1e-5)
    assert answer["label"].tolist() == [tiny_export.LABEL_NAMES[best].encode() for best in expected.argmax(axis=1)]
    assert len(set(answer["label"].tolist())) > 1  # the test would see a constant answer


def test_tokens_get_logits_and_probabilities(loaded):
    ids = tf.constant([[2, 5, 7, 3], [2, 6, 3, 0]])
    answer = loaded.signatures["tokens"](input_ids=ids, attention_mask=tf.constant([[1, 1, 1, 1], [1, 1, 1, 0]]))
    logits = in_training(["good film", "bad"])
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], softmax(logits), atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 65, 1000])
def test_a_batch_of_any_size_is_answered_in_its_order(loaded, count):
    answer = ask(loaded, TEXTS[:count])
    assert answer["probabilities"].shape == (count, 3)
    assert answer["label"].shape == answer["probability"].shape == (count,)
    if count:
        np.testing.assert_allclose(answer["probabilities"], softmax(in_training(TEXTS[:count])), atol=1e-5)


def test_answers_do_not_depend_on_the_rest_of_the_batch(loaded):
    together = ask(loaded, TEXTS)["probabilities"]
    alone = np.concatenate([ask(loaded, [text])["probabilities"] for text in TEXTS[::25]])
    np.testing.assert_allclose(together[::25], alone, atol=1e-5)


def test_what_lies_beyond_max_length_is_not_read(loaded):
    start = " ".join(["good"] * (tiny_export.MAX_LENGTH - 2))
    answer = ask(loaded, [start, start + " bad bad", start + " " + "x" * 100_000])["probabilities"]
    np.testing.assert_allclose(answer[1:], answer[[0, 0]], atol=1e-6)


def test_bytes_that_are_not_utf8_are_skipped(loaded):
    answer = ask(loaded, [b"go\xffod film", b"good film", b"\xff\xfe", b""])["probabilities"]
    np.testing.assert_allclose(answer[[0, 2]], answer[[1, 3]], atol=1e-6)


TWO_CLASSES = {"weights": tiny_export.two_classes(), "label_names": ("NEGATIVE", "POSITIVE")}


def test_a_threshold_decides_the_label_and_changes_no_probability(tmp_path):
    loaded = tf.saved_model.load(str(tiny_export.export(tmp_path / "1", threshold=0.3, **TWO_CLASSES)))
    plain = tf.saved_model.load(str(tiny_export.export(tmp_path / "2", **TWO_CLASSES)))
    answer, without = ask(loaded, TEXTS[:200]), ask(plain, TEXTS[:200])
    np.testing.assert_array_equal(answer["probabilities"], without["probabilities"])
    positive = answer["probabilities"][:, 1] >= np.float32(0.3)
    assert answer["label"].tolist() == [(b"NEGATIVE", b"POSITIVE")[each] for each in positive.astype(int)]
    assert 0 < (answer["label"] != without["label"]).sum() < 200
    own = answer["probabilities"][np.arange(200), positive.astype(int)]
    np.testing.assert_array_equal(answer["probability"], own)
    assert ask(loaded, [])["label"].shape == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_export_is_float32_whatever_trained_it(tmp_path, dtype):
    trained = tf.nest.map_structure(lambda weight: tf.cast(weight, dtype), tiny_export.weights())
    loaded = tf.saved_model.load(str(tiny_export.export(tmp_path / "1", weights=trained)))
    assert {variable.dtype for variable in loaded.signatures["serving_default"].variables} == {tf.float32}
    assert ask(loaded, TEXTS[:3])["probabilities"].dtype == np.float32


def test_files_are_those_of_tf_serving_and_a_manifest(version):
    assert {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()} == {
        "MANIFEST",
        "assets.extra/tf_serving_warmup_requests",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }


def test_nothing_is_written_over_another_version(version):
    with pytest.raises(FileExistsError):
        tiny_export.export(version)
