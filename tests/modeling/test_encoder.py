import numpy as np
import pytest
import tensorflow as tf

from sentiment_tf.modeling import distilbert, encoder


def batch(rows: int = 5, width: int = 17) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    lengths = np.array([width, 3, 9, 1, 12])[:rows]
    mask = (np.arange(width) < lengths[:, None]).astype(np.int32)
    return (random.integers(1, 200, (rows, width)) * mask).astype(np.int32), mask


def test_float32_equals_transformers(tiny_classifier):
    ids, mask = batch()
    theirs = tiny_classifier(ids, attention_mask=mask).logits
    ours = encoder.logits(distilbert.read_weights(tiny_classifier), ids, mask, heads=4)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.ptp(theirs) > 0.1  # else the comparison would say nothing


def test_float32_equals_transformers_inside_a_graph_and_for_a_single_token(tiny_classifier):
    ids, mask = batch(rows=1, width=1)
    weights = distilbert.read_weights(tiny_classifier)
    ours = tf.function(lambda ids, mask: encoder.logits(weights, ids, mask, heads=4))(ids, mask)
    np.testing.assert_allclose(ours, tiny_classifier(ids, attention_mask=mask).logits, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_hidden_states_equal_transformers_at_every_depth(tiny_classifier, depth):
    ids, mask = batch()
    weights = distilbert.read_weights(tiny_classifier)
    theirs = tiny_classifier.distilbert(ids, attention_mask=mask, output_hidden_states=True).hidden_states[depth]
    ours = encoder.run_blocks(
        weights.blocks[:depth], encoder.embed(weights.embeddings, ids), mask, heads=4, pooled=False
    )
    real = mask.astype(bool)
    np.testing.assert_allclose(ours.numpy()[real], theirs.numpy()[real], atol=1e-5)


@pytest.mark.parametrize(("dtype", "most"), [(tf.bfloat16, 0.01), (tf.float16, 0.002)])
def test_half_precision_is_within_a_percent(tiny_classifier, dtype, most):
    ids, mask = batch()
    weights = distilbert.read_weights(tiny_classifier)
    hidden = encoder.embed(weights.embeddings, ids)
    exact = encoder.run_blocks(weights.blocks, hidden, mask, heads=4, pooled=True).numpy()
    blocks = encoder.cast_for_compute(weights.blocks, dtype)
    rough = encoder.run_blocks(blocks, hidden, mask, heads=4, pooled=True)
    assert rough.dtype == tf.float32
    difference = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
    assert 0 < difference < most


def test_the_last_block_for_the_first_token_alone_is_that_of_all_tokens():
    rows, width, hidden, heads, length = 3, 32, 48, 4, 7
    random = np.random.default_rng(4)

    def draw(*shape):
        return tf.constant(random.normal(size=shape), tf.float32)

    kernels = {"qkv": (width, 3 * width), "out": (width, width), "lin1": (width, hidden), "lin2": (hidden, width)}
    shapes = dict.fromkeys(encoder.Block._fields, (width,)) | {f"{name}_kernel": kernels[name] for name in kernels}
    shapes |= {f"{name}_bias": kernels[name][1:] for name in kernels}
    block = encoder.Block(**{name: draw(*shape) for name, shape in shapes.items()})
    x, upstream = draw(rows, length, width), draw(rows, width)
    mask = tf.sequence_mask([7, 4, 1], length, tf.int32)
    kept = tf.constant(random.integers(0, 2, (rows, heads, length)) / 0.5, tf.float32)

    def dropout(y, rate):
        """Drops attention weights, of all queries [B, H, T, T] or of the first [B, H, T]; leaves hidden states."""
        return y * {4: kept[:, :, None], 3: kept, 2: 1.0}[y.shape.rank]

    found = []
    for pooled in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([*block, x])
            answer = encoder.run_blocks([block], x, mask, heads=heads, pooled=pooled, dropout=dropout)
            answer = answer if pooled else answer[:, 0]
        found.append([answer, *tape.gradient(answer, [*block, x], upstream)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_padding_does_not_change_an_answer(tiny_classifier):
    ids, mask = batch()
    weights = distilbert.read_weights(tiny_classifier)
    wide = np.pad(ids, ((0, 0), (0, 11))), np.pad(mask, ((0, 0), (0, 11)))
    np.testing.assert_allclose(
        encoder.logits(weights, ids, mask, heads=4), encoder.logits(weights, *wide, heads=4), atol=1e-5
    )


def test_gradients_reach_the_models_own_variables(tiny_classifier):
    ids, mask = batch()
    layer = tiny_classifier.distilbert.transformer.layer[-1]
    with tf.GradientTape() as tape:
        theirs = tf.reduce_sum(tiny_classifier(ids, attention_mask=mask).logits ** 2)
    expected = tape.gradient(theirs, layer.trainable_variables)
    with tf.GradientTape() as tape:
        ours = tf.reduce_sum(encoder.logits(distilbert.read_weights(tiny_classifier), ids, mask, heads=4) ** 2)
    for variable, mine, reference in zip(
        layer.trainable_variables, tape.gradient(ours, layer.trainable_variables), expected, strict=True
    ):
        np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=1e-4, err_msg=variable.name)


def test_dropout_masks_are_a_function_of_the_seed_and_the_place():
    x = tf.ones([400, 50])
    first, again = encoder.seeded_dropout(tf.constant([1, 2])), encoder.seeded_dropout(tf.constant([1, 2]))
    one, two = first(x, 0.25), first(x, 0.25)
    np.testing.assert_array_equal(one, again(x, 0.25))
    assert (one.numpy() != two.numpy()).any()
    assert (one.numpy() != encoder.seeded_dropout(tf.constant([1, 3]))(x, 0.25).numpy()).any()
    assert abs((one.numpy() == 0).mean() - 0.25) < 0.01
    np.testing.assert_allclose(one.numpy().max(), 1 / 0.75, rtol=1e-6)
