import functools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from sentiment_tf.config import TrainConfig
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.distributed import strategies
from sentiment_tf.modeling import distilbert, features, trainable
from sentiment_tf.training import fitting
from tests.support.tiny_classifier import make_tiny_classifier

ROWS = 45  # not a multiple of the batch: the last one is filled up


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    random = np.random.default_rng(5)
    lengths = random.integers(3, 15, ROWS)
    return Tokens(
        random.integers(1, 200, lengths.sum()).astype(np.uint16),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.zeros(ROWS, bool),
    )


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 2, ROWS).astype(np.int32)


def settings(**changed) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "batch_size": 16, "seed": 9, "learning_rate": 5e-3} | changed)


def train(tokens, labels, *, depth, blocks=2, epochs=2, strategy=None, dropout=True, dtype=tf.float32, parts=2):
    """Trains a new tiny model; returns (model, its trainable layers, features, history)."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = make_tiny_classifier(seed=1, blocks=blocks)
        if not dropout:
            model.config.dropout = model.config.attention_dropout = model.config.seq_classif_dropout = 0.0
        layers = trainable.TrainableLayers(model, depth=depth, compute_dtype=dtype, seed=3, parts=parts)
    inputs = features.compute(
        model, {"train": tokens}, depth=depth, compute_dtype=dtype, max_length=64, cache_dir=None
    )["train"]
    config = settings(epochs=epochs)
    fitting.compile_model(config, layers, rows=ROWS)
    history = fitting.fit(
        config,
        layers,
        inputs,
        labels,
        validate=lambda: fitting.loss_and_accuracy(fitting.predict_logits(layers, inputs), labels),
    )
    return model, layers, inputs, history


@pytest.fixture(scope="module")
def trained(tokens, labels):
    """Trains at a depth, once for all tests, which must not change what they get; returns what `train` does."""
    return functools.cache(lambda depth: train(tokens, labels, depth=depth))


def weights_of(model) -> dict[str, np.ndarray]:
    return {variable.name.split("/", 1)[1]: variable.numpy() for variable in model.weights}


@pytest.mark.parametrize("depth", [0, 1, 2, "all"])
def test_trains_the_layers_above_the_freeze_point_and_leaves_the_rest_bit_identical(trained, depth):
    before = weights_of(make_tiny_classifier(seed=1, blocks=2))
    model, _, _, _ = trained(depth)
    changed = {name for name, value in weights_of(model).items() if (value != before[name]).any()}
    blocks = 2 if depth == "all" else depth
    for name in before:
        if "layer_._" in name:
            trained = int(name.split("layer_._")[1].split("/")[0]) >= 2 - blocks
        else:
            trained = depth == "all" if "embeddings" in name else True
        if not name.endswith("k_lin/bias:0"):  # a key's bias shifts all scores of a query alike: no gradient
            assert (name in changed) == trained, name


@pytest.mark.parametrize("depth", [0, 1, 2, "all"])
def test_the_whole_models_logits_equal_those_of_the_trainable_layers(tokens, trained, depth):
    model, layers, inputs, _ = trained(depth)
    # Hidden states are kept as float16, three decimal digits.
    exact = depth in (0, 2, "all")
    np.testing.assert_allclose(
        fitting.predict_logits(layers, inputs),
        distilbert.reference_logits(model, tokens),
        atol=1e-5 if exact else 2e-2,
    )


@pytest.mark.slow
def test_same_seed_same_history_and_weights(tokens, labels, trained):
    first, _, _, history = trained("all")
    second, _, _, again = train(tokens, labels, depth="all")
    for row, other in zip(history, again, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    for name, value in weights_of(first).items():
        np.testing.assert_array_equal(value, weights_of(second)[name], err_msg=name)


def test_loss_falls_and_rows_are_complete(tokens, labels):
    _, _, _, history = train(tokens, labels, depth="all", blocks=1, epochs=6)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["val_loss"] < 0.8 * history[0]["val_loss"]
    assert set(history[0]) == {
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
        "gradient_norm",
        "padding",
    }


@pytest.fixture
def head(tokens) -> tuple:
    """(A head without dropout, its inputs)."""
    model = make_tiny_classifier(seed=1)
    model.config.seq_classif_dropout = 0.0
    layers = trainable.TrainableLayers(model, depth=0, compute_dtype=tf.float32, seed=0, parts=1)
    return layers, features.compute(
        model, {"train": tokens}, depth=0, compute_dtype=tf.float32, max_length=64, cache_dir=None
    )["train"]


def epoch_without_change(head, labels, **changed) -> dict:
    """Returns the row of an epoch whose learning rate is too small to change the weights."""
    layers, inputs = head
    config = settings(epochs=1, seed=0, learning_rate=1e-9, warmup_ratio=0.0, weight_decay=0.0, **changed)
    fitting.compile_model(config, layers, rows=ROWS)
    return fitting.fit(config, layers, inputs, labels)[0]


def test_epoch_loss_is_the_mean_over_rows_without_the_padding_rows(head, labels):
    expected = fitting.loss_and_accuracy(fitting.predict_logits(*head), labels)
    row = epoch_without_change(head, labels)
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert row["accuracy"] == pytest.approx(expected["accuracy"])


def test_balanced_class_weights_weight_the_rows_of_the_loss(head, labels):
    logits, positive = fitting.predict_logits(*head), labels.sum()
    losses = [fitting.loss_and_accuracy(logits[labels == label], labels[labels == label])["loss"] for label in (0, 1)]
    assert positive != ROWS - positive
    assert epoch_without_change(head, labels, class_weight="balanced")["loss"] == pytest.approx(
        sum(losses) / 2, rel=1e-4
    )


def test_predictions_come_in_row_order_each_row_once(trained):
    _, layers, inputs, _ = trained(1)
    logits = fitting.predict_logits(layers, inputs)
    assert logits.shape == (ROWS, 2)
    alone = [layers.evaluate_batch(layers.read_weights(), inputs.gather(np.array([row])))[0] for row in range(ROWS)]
    np.testing.assert_allclose(logits, alone, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [0, 1, "all"])
def test_two_devices_take_the_same_steps_as_one(tokens, labels, depth):
    one, layers_of_one, _, alone = train(tokens, labels, depth=depth, epochs=1, dropout=False)
    mirrored = strategies.make_strategy("mirrored", batch_size=16)
    assert mirrored.num_replicas_in_sync == 2
    two, layers, _, shared = train(tokens, labels, depth=depth, epochs=1, dropout=False, strategy=mirrored, parts=1)
    for name in ("loss", "accuracy", "gradient_norm"):  # the last: AdamW's steps would hide a gradient's scale
        assert shared[0][name] == pytest.approx(alone[0][name], rel=1e-5), name
    for (mean, _), (other, _) in zip(layers_of_one.optimizer.moments, layers.optimizer.moments, strict=True):
        np.testing.assert_allclose(10 * mean.numpy(), 10 * other.numpy(), atol=1e-5)  # a tenth of the gradients' sum
    for name, value in weights_of(one).items():
        np.testing.assert_allclose(value, weights_of(two)[name], atol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "depth", "dtype"),
    [
        (lambda rate: keras.optimizers.SGD(20 * rate, momentum=0.9), "all", tf.float32),
        (keras.optimizers.Adam, 0, tf.float32),
        (lambda rate: keras.optimizers.AdamW(rate, global_clipnorm=1.0), "all", tf.float16),
    ],
    ids=["SGD", "Adam", "AdamW"],
)
def test_trains_with_any_keras_optimizer(tokens, labels, monkeypatch, make, depth, dtype):
    def make_optimizer(config, model, steps):
        optimizer = make(config.learning_rate)
        return optimizer if dtype == tf.float32 else keras.mixed_precision.LossScaleOptimizer(optimizer)

    monkeypatch.setattr(fitting, "make_optimizer", make_optimizer)
    _, _, _, history = train(tokens, labels, depth=depth, epochs=6, dtype=dtype)
    assert history[-1]["val_loss"] < 0.95 * history[0]["val_loss"]
    assert 0.0 < history[-1]["gradient_norm"] < np.inf


@pytest.mark.parametrize("depth", [0, "all"])
def test_gradient_norm_is_that_of_the_whole_batch_before_clipping(tokens, labels, monkeypatch, depth):
    """SGD at rate 1 without clipping changes the weights by the gradient itself, whose norm can be computed."""
    monkeypatch.setattr(fitting, "make_optimizer", lambda config, model, steps: keras.optimizers.SGD(1.0))
    model = make_tiny_classifier(seed=1, blocks=1)
    layers = trainable.TrainableLayers(model, depth=depth, compute_dtype=tf.float32, seed=3, parts=2)
    inputs = features.compute(
        model, {"train": tokens}, depth=depth, compute_dtype=tf.float32, max_length=64, cache_dir=None
    )["train"]
    config = settings(epochs=1, batch_size=ROWS)
    fitting.compile_model(config, layers, rows=ROWS)
    before = [variable.numpy() for variable in layers.trainable_variables]
    (row,) = fitting.fit(config, layers, inputs, labels)
    changes = [old - variable.numpy() for old, variable in zip(before, layers.trainable_variables, strict=True)]
    assert row["gradient_norm"] == pytest.approx(np.sqrt(sum((change**2).sum() for change in changes)), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision_trains_with_float32_loss_and_logits(tokens, labels, dtype):
    _, layers, inputs, history = train(tokens, labels, depth="all", blocks=1, epochs=6, dtype=dtype)
    logits = layers(inputs.gather(np.arange(4)), training=False)
    assert logits.dtype == tf.float32
    assert history[-1]["val_loss"] < 0.85 * history[0]["val_loss"]


def test_best_epochs_weights_come_back_and_training_stops_after_patience(tokens, labels):
    scores = iter([0.6, 0.9, 0.7, 0.8, 0.8, 0.8])
    kept = []
    _, layers, inputs, _ = train(tokens, labels, depth=0, epochs=1)

    def validate():
        kept.append(fitting.predict_logits(layers, inputs))
        return {"loss": 1.0, "accuracy": next(scores)}

    config = settings(epochs=6, early_stopping_patience=2)
    fitting.compile_model(config, layers, rows=ROWS)
    history = fitting.fit(config, layers, inputs, labels, validate=validate)
    assert [row["val_accuracy"] for row in history] == [0.6, 0.9, 0.7, 0.8]
    np.testing.assert_array_equal(fitting.predict_logits(layers, inputs), kept[1])
    assert np.abs(kept[1] - kept[3]).max() > 1e-4


def test_balanced_weights_by_hand():
    weights = fitting.balanced_weights(np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(weights, [4 / 6, 4 / 2])


@pytest.mark.parametrize(
    ("smoothing", "expected"), [(0.0, np.log(4 / 3)), (0.2, 0.9 * np.log(4 / 3) + 0.1 * np.log(4))]
)
def test_label_smoothing_by_hand(tiny_classifier, smoothing, expected):
    layers = trainable.TrainableLayers(tiny_classifier, depth=0, compute_dtype=tf.float32, seed=0, parts=1)
    fitting.compile_model(settings(label_smoothing=smoothing), layers, rows=1)
    loss = layers.compiled_loss(tf.constant([0]), tf.constant([[np.log(3.0), 0.0]], tf.float32))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_layer_decay_counts_from_the_head_down(tiny_classifier):
    layers = trainable.TrainableLayers(tiny_classifier, depth="all", compute_dtype=tf.float32, seed=0, parts=1)
    below = {}
    for variable in tiny_classifier.weights:
        below.setdefault(layers.layers_above(variable), set()).add(variable.name)
    assert sorted(below) == [0, 1, 2, 3, 4]
    assert all("classifier" in name for name in below[0])
    assert all("layer_._2/" in name for name in below[1])
    assert all("embeddings" in name for name in below[4])


def test_loss_and_accuracy_by_hand():
    logits = np.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, np.log(3.0)]], np.float32)
    scores = fitting.loss_and_accuracy(logits, np.array([0, 0, 0]))
    assert scores["loss"] == pytest.approx((np.log(2) + np.log(4 / 3) + np.log(4)) / 3, rel=1e-6)
    assert scores["accuracy"] == pytest.approx(2 / 3)
