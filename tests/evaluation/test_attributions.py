"""Integrated gradients: complete, of the right word, and of this model alone."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from sentiment_tf.evaluation import attributions
from sentiment_tf.evaluation.attributions import Explanation, Word
from sentiment_tf.inference.engines.safetensors import FusedClassifier
from sentiment_tf.modeling import encoder
from tests.support import networks, tiny_export

PAD = 0


def gradients_of(weights):
    constants = tf.nest.map_structure(tf.constant, weights)

    @tf.function(reduce_retracing=True)
    def compute(batch):
        return attributions.path_gradients(constants, batch, heads=2)

    return lambda batch: tuple(each.numpy() for each in compute(attributions.PathBatch(*map(tf.constant, batch))))


def integrate(weights, rows, labels):
    """The first and the last token of each row stand for [CLS] and [SEP], which the path leaves alone."""
    baselines = [[row[0], *[PAD] * (len(row) - 2), row[-1]] for row in rows]
    return attributions.integrate(gradients_of(weights), rows, baselines, labels)


def log_odds(weights, row, label):
    (logits,) = networks.expected(weights, np.array([row], np.int32), heads=2)
    others = np.delete(logits, label)
    return logits[label] - np.log(np.exp(others).sum())


@pytest.mark.parametrize("classes", [2, 4])
def test_the_weights_of_a_text_sum_to_the_change_in_log_odds(classes):
    weights = networks.weights(classes=classes, seed=3)
    rows = [row.tolist() for length in (3, 5, 9, 20) for row in networks.ids(3, length, seed=length)]
    labels = [number % classes for number in range(len(rows))]
    for row, label, found in zip(rows, labels, integrate(weights, rows, labels), strict=True):
        change = log_odds(weights, row, label) - log_odds(weights, [row[0], *[PAD] * (len(row) - 2), row[-1]], label)
        assert found.log_odds - found.baseline == pytest.approx(change, abs=1e-4)
        assert abs(found.weights.sum() - change) < 0.01 * abs(change)
        assert found.missed <= 0.01 * max(abs(change), 1.0)
        assert found.weights[[0, -1]].tolist() == [0.0, 0.0]


def test_the_weights_are_the_integral_over_the_path():
    weights, (row,) = networks.weights(classes=2, seed=3), networks.ids(1, 9).tolist()
    (found,) = integrate(weights, [row], [1])
    alphas = ((np.arange(2000) + 0.5) / 2000).astype(np.float32)
    start = np.array([row[0], *[PAD] * 7, row[-1]], np.int32)
    ids, baselines = (np.tile(np.array(each, np.int32), (2000, 1)) for each in (row, start))
    batch = attributions.PathBatch(ids, baselines, np.ones_like(ids), alphas, np.ones(2000, np.int32))
    _, products = gradients_of(weights)(batch)
    np.testing.assert_allclose(found.weights, products.mean(axis=0), atol=0.02)


def test_a_token_that_nothing_reads_gets_no_weight():
    """Without blocks, and with [CLS] replaced by a word, the log-odds follow that word's embedding alone."""
    weights = networks.weights(blocks=0, classes=2)
    (found,) = attributions.integrate(gradients_of(weights), [[7, 8, 9]], [[PAD, PAD, PAD]], [1])
    assert found.weights[0] == pytest.approx(
        log_odds(weights, [7, 8, 9], 1) - log_odds(weights, [PAD] * 3, 1), rel=0.01
    )
    assert found.weights[1:].tolist() == [0.0, 0.0]


@pytest.mark.slow
def test_padding_changes_nothing():
    weights = networks.weights(seed=5)
    short, long = networks.ids(1, 4)[0].tolist(), networks.ids(1, 30)[0].tolist()
    (alone,) = integrate(weights, [short], [0])
    together = integrate(weights, [long, short], [1, 0])[1]
    np.testing.assert_allclose(alone.weights, together.weights, atol=1e-5)


def draw_texts(generator, count):
    """Random token ids of which one alone says the label, 5 for class 0, 6 for class 1: (ids, labels, its places)."""
    ids = generator.integers(7, networks.VOCABULARY_SIZE, size=(count, 8)).astype(np.int32)
    labels, places = generator.integers(2, size=count), generator.integers(1, 7, size=count)
    ids[:, 0], ids[:, -1] = 2, 3
    ids[np.arange(count), places] = 5 + labels
    return ids, labels.astype(np.int32), places


@pytest.fixture(scope="module")
def one_word_decides():
    """A network trained on `draw_texts`, and some more of them."""
    generator = np.random.default_rng(0)
    weights = tf.nest.map_structure(tf.Variable, networks.weights(classes=2, seed=1))
    variables = tf.nest.flatten(weights)
    optimizer = tf.keras.optimizers.legacy.Adam(0.01)

    @tf.function
    def step(ids, labels):
        with tf.GradientTape() as tape:
            read = tf.nest.map_structure(tf.convert_to_tensor, weights)
            logits = encoder.logits(read, ids, tf.ones_like(ids), heads=2)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step(*map(tf.constant, draw_texts(generator, 128)[:2]))) for _ in range(150)]
    assert losses[-1] < 0.05
    ids, labels, places = draw_texts(generator, 32)
    return tf.nest.map_structure(lambda variable: variable.numpy(), weights), ids.tolist(), labels, places


def test_the_word_that_decides_gets_the_weight(one_word_decides):
    weights, rows, labels, place = one_word_decides
    found = integrate(weights, rows, labels)
    heaviest = [int(each.weights.argmax()) for each in found]
    assert np.mean(np.array(heaviest) == place) >= 0.9
    shares = [each.weights[there] / np.abs(each.weights).sum() for each, there in zip(found, place, strict=True)]
    assert np.mean(shares) > 0.5


@pytest.mark.slow
def test_other_weights_of_the_model_give_other_explanations(one_word_decides):
    """What survives random weights explains the text and not the model (Adebayo et al., arXiv:1810.03292)."""
    weights, rows, labels, _ = one_word_decides
    random = weights._replace(blocks=networks.weights(classes=2, seed=9).blocks)
    pairs = zip(integrate(weights, rows, labels), integrate(random, rows, labels), strict=True)
    similar = [spearmanr(trained.weights[1:-1], other.weights[1:-1]).statistic for trained, other in pairs]
    assert np.mean(similar) < 0.5


@pytest.fixture(scope="module")
def fused():
    """The tiny export's model with its tokenizer."""
    import json

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(tiny_export.tokenizer()))
    tokenizer.enable_truncation(tiny_export.MAX_LENGTH)
    names = dict(zip("012", tiny_export.LABEL_NAMES, strict=True))
    config = {"id2label": names, "n_heads": tiny_export.HEADS, "activation": "gelu"}
    return FusedClassifier(tiny_export.weights(), config, tokenizer, precision="float32")


HARD = [
    "good film",
    "GOOD,  film!",
    "it isn't bad – it’s good",
    "a<br />good<BR>film",
    "'good' rock 'n' film",
    "x" * 120 + " good",
    "日本 good\u00ad film\ud83d s",
    "Σ é e\u0301 good",
    "",
    " \n",
]


@pytest.mark.parametrize("text", HARD)
def test_words_stand_in_the_raw_text_where_they_say(fused, text):
    (found,) = fused.explain([text])
    assert [text[word.start : word.end] for word in found.words] == [word.text for word in found.words]
    assert all(word.text and not word.text[0].isspace() and not word.text[-1].isspace() for word in found.words)
    ends = [0, *(place for word in found.words for place in (word.start, word.end))]
    assert ends == sorted(ends)
    assert sum(word.weight for word in found.words) == pytest.approx(found.log_odds - found.baseline, abs=1e-4)


def test_pieces_are_merged_to_words_and_apostrophes_do_not_divide_them(fused):
    found, brackets = fused.explain(["It isn't a Film, it’s “good”.", "a<br/>good"])
    assert [word.text for word in found.words] == ["It", "isn't", "a", "Film", ",", "it’s", "“", "good", "”", "."]
    assert [word.text for word in brackets.words] == ["a", "good"]


def test_explanations_are_of_the_answer(fused):
    texts = tiny_export.texts(12)
    labels, probabilities = fused.predict(texts)
    for found, label, each in zip(fused.explain(texts), labels, probabilities, strict=True):
        assert found.label == label
        np.testing.assert_allclose(found.probabilities, each, atol=1e-6)
        likeliest = each.max()
        assert found.log_odds == pytest.approx(np.log(likeliest / (1 - likeliest)), abs=1e-3)
    assert fused.explain([]) == []


def test_what_is_not_read_is_not_explained(fused):
    (found,) = fused.explain(["good " * 100])
    assert len(found.words) == tiny_export.MAX_LENGTH - 2


def test_bytes_are_explained_as_the_text_that_is_read(fused):
    (found,) = fused.explain(["gut ä".encode("latin-1") + b" good"])
    assert [word.text for word in found.words] == ["gut", "good"]


def test_deletion_curve_by_hand():
    """The answer is the share of "good" among three words."""

    def predict(texts):
        share = np.array([text.count("good") / 3 for text in texts])
        return np.stack([1 - share, share], axis=1)

    words = (Word(0, 4, "good", 2.0), Word(5, 8, "bad", -1.0), Word(9, 13, "good", 1.0))
    explained = Explanation("POSITIVE", np.array([1 / 3, 2 / 3]), words, 2.7, 0.7, 0.0)
    curve = attributions.deletion_curve(
        predict, ["good bad good"], [explained], classes=[1], shares=(0.3, 0.6, 1.0), seed=0
    )
    assert curve["share"] == [0.0, 0.3, 0.6, 1.0]
    assert curve["top_words"] == [pytest.approx(2 / 3), pytest.approx(1 / 3), 0.0, 0.0]
    assert curve["random_words"][0] == curve["top_words"][0]
    assert curve["random_words"][-1] == 0.0
