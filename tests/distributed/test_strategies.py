"""Precision by hardware; static shapes, which a TPU needs, and the error if there is no TPU."""

import numpy as np
import pytest
import tensorflow as tf

from sentiment_tf.config import TrainConfig
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.distributed import strategies
from sentiment_tf.modeling import features, trainable
from sentiment_tf.system import runtime
from sentiment_tf.training import fitting
from tests.support import faults
from tests.support.tiny_classifier import make_tiny_classifier

ROWS, BATCH = 45, 16


def train(depth, *, pad_to_max_length: bool):
    """Trains a tiny model for an epoch without dropout.

    Returns:
      (history, logits, shapes of its batches, the shape announced for them).
    """
    random = np.random.default_rng(5)
    lengths = random.integers(3, 15, ROWS)
    ids = random.integers(1, 200, lengths.sum()).astype(np.uint16)
    tokens = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), np.zeros(ROWS, bool))
    labels = random.integers(0, 2, ROWS).astype(np.int32)
    model = make_tiny_classifier(seed=1)
    model.config.dropout = model.config.attention_dropout = model.config.seq_classif_dropout = 0.0
    layers = trainable.TrainableLayers(model, depth=depth, compute_dtype=tf.float32, seed=3, parts=1)
    config = TrainConfig(
        max_length=32,
        pad_to_max_length=pad_to_max_length,
        epochs=1,
        batch_size=BATCH,
        seed=9,
        learning_rate=5e-3,
        warmup_ratio=0.0,
    )
    settings = {"compute_dtype": tf.float32, "max_length": config.max_length, "cache_dir": None}
    inputs = features.compute(model, {"train": tokens}, depth=depth, least_width=config.least_width, **settings)[
        "train"
    ]
    shapes, gather = set(), features.Features.gather

    def note(self, rows):
        batch = gather(self, rows)
        shapes.add(batch["attention_mask"].shape)
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features.Features, "gather", note)
        fitting.compile_model(config, layers, rows=ROWS)
        history = fitting.fit(config, layers, inputs, labels)
    return history, fitting.predict_logits(layers, inputs), shapes, inputs.signature(BATCH)["attention_mask"].shape


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, "all"])
def test_static_shapes_train_the_same_model(depth):
    history, logits, shapes, signature = train(depth, pad_to_max_length=True)
    assert shapes == {(BATCH, 32)}
    assert signature == (BATCH, 32)
    expected, expected_logits, narrow, dynamic = train(depth, pad_to_max_length=False)
    assert max(width for _, width in narrow) <= 16
    assert dynamic[1] is None
    assert history[0]["loss"] == pytest.approx(expected[0]["loss"], rel=1e-5)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)


@pytest.mark.slow
def test_without_a_tpu_it_is_said_in_one_line(tmp_path):
    flags = faults.prepare(tmp_path / "own")
    done = faults.train([*flags, "--strategy=tpu", *faults.places(tmp_path)])
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: --strategy=tpu: there is no TPU here (")
    assert done.stderr.endswith("; pass --strategy=auto\n")
    assert not any((tmp_path / "saved_models").glob("*"))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(7, 5)], tf.float16),
        ([(8, 0)], tf.bfloat16),
        ([(12, 0)], tf.bfloat16),
        ([(8, 6), (7, 0)], tf.float16),  # every GPU computes the same dtype
        ([None], tf.float16),  # not from NVIDIA
    ],
)
def test_a_gpu_computes_in_bfloat16_from_capability_8_on(monkeypatch, capabilities, expected):
    details = [{"compute_capability": capability} if capability else {} for capability in capabilities]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(len(details)) if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    assert strategies.compute_dtype("auto") == expected
    assert strategies.compute_dtype("float32") == tf.float32


@pytest.mark.parametrize(("fast", "gpus", "expected"), [(True, 0, tf.int8), (False, 0, None), (True, 1, None)])
def test_auto_takes_int8_for_frozen_layers_on_cpus_that_multiply_it(monkeypatch, fast, gpus, expected):
    monkeypatch.setattr(runtime, "has_fast_int8", lambda: fast)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(gpus) if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {})
    assert strategies.frozen_dtype("auto") == (expected or strategies.compute_dtype("auto"))
    assert strategies.frozen_dtype("int8") == tf.int8
    assert strategies.frozen_dtype("float32") == tf.float32
