"""DistilBERT's forward pass, fused; attention is computed here and nowhere else.

Frozen layers, trainable layers and exports all use these functions. They take and return tensors, and are arranged
for speed:

* tokens are flattened to two dimensions, so that grappler turns MatMul + BiasAdd + GELU into one oneDNN
  call (it does not recognise a three-dimensional Dense);
* query, key and value are one matmul, with attention's 1/sqrt(head width) folded into the query's weights;
* the last block is computed for [CLS] only, since nothing else of it is read, and needs no keys and no values;
* matmuls run in ``compute_dtype``; LayerNorm, softmax and the residual stream stay in float32.

Architecture: Sanh et al., "DistilBERT, a distilled version of BERT" (arXiv:1910.01108).

Shapes in comments: B batch, T tokens, D model width, H heads.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

LAYER_NORM_EPSILON = 1e-12
MASKED = -1e9  # added to the score of a padding token; exp() of it is exactly 0 in float32


class Embeddings(NamedTuple):
    """Token and position tables with their LayerNorm, float32."""

    words: tf.Tensor  # [vocabulary, D]
    positions: tf.Tensor  # [max positions, D]
    gamma: tf.Tensor  # [D]
    beta: tf.Tensor  # [D]


class Block(NamedTuple):
    """One transformer block, float32; the query's part of ``qkv`` includes attention's scale."""

    qkv_kernel: tf.Tensor  # [D, 3 D]
    qkv_bias: tf.Tensor  # [3 D]
    out_kernel: tf.Tensor  # [D, D]
    out_bias: tf.Tensor  # [D]
    attention_gamma: tf.Tensor  # [D]
    attention_beta: tf.Tensor  # [D]
    lin1_kernel: tf.Tensor  # [D, hidden]
    lin1_bias: tf.Tensor  # [hidden]
    lin2_kernel: tf.Tensor  # [hidden, D]
    lin2_bias: tf.Tensor  # [D]
    output_gamma: tf.Tensor  # [D]
    output_beta: tf.Tensor  # [D]


class Head(NamedTuple):
    """The classification head, float32."""

    pre_kernel: tf.Tensor  # [D, D]
    pre_bias: tf.Tensor  # [D]
    kernel: tf.Tensor  # [D, classes]
    bias: tf.Tensor  # [classes]


class Weights(NamedTuple):
    """All weights of a forward pass, as a tree of float32 tensors."""

    embeddings: Embeddings | None  # None if the input is hidden states
    blocks: tuple[Block, ...]
    head: Head


DropoutFunction = Callable[[tf.Tensor, float], tf.Tensor]


class DropoutRates(NamedTuple):
    """The three rates of a DistilBERT configuration."""

    hidden: float
    attention: float
    head: float


NO_RATES = DropoutRates(0.0, 0.0, 0.0)


def no_dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
    """Returns ``x``: for inference and frozen layers."""
    del rate
    return x


def seeded_dropout(seed: tf.Tensor) -> DropoutFunction:
    """Returns a dropout function whose masks depend only on ``seed`` and on the number of the call.

    There is no generator state to save: a run that is resumed at step n uses step n's masks.

    Args:
      seed: int32[2], different for each step and each replica.
    """
    calls = 0

    def dropout(x: tf.Tensor, rate: float) -> tf.Tensor:
        nonlocal calls
        calls += 1
        if rate == 0.0:
            return x
        return tf.nn.experimental.stateless_dropout(x, rate, seed + tf.constant([calls << 16, 0]))

    return dropout


def pack_embeddings(words: tf.Variable, positions, norm: tuple) -> Embeddings:
    """Returns `Embeddings` of the two tables and the (gamma, beta) of their LayerNorm."""
    # The word table stays a variable: tf.gather then reads its rows, not a copy of the whole table.
    return Embeddings(words, *map(tf.convert_to_tensor, (positions, *norm)))


def pack_block(query, key, value, out, attention_norm, lin1, lin2, output_norm, *, heads: int) -> Block:
    """Returns a `Block`: query, key and value packed into one matrix, with attention's scale in the query's part.

    Args:
      query, key, value, out, lin1, lin2: (kernel, bias) of a dense layer, float32.
      attention_norm, output_norm: (gamma, beta) of a LayerNorm, float32.
      heads: Number of attention heads.
    """
    scale = (query[0].shape[-1] / heads) ** -0.5
    return Block(
        *(tf.concat([q * scale, k, v], axis=-1) for q, k, v in zip(query, key, value, strict=True)),
        *map(tf.convert_to_tensor, (*out, *attention_norm, *lin1, *lin2, *output_norm)),
    )


def pack_head(pre_classifier: tuple, classifier: tuple) -> Head:
    """Returns a `Head` of the (kernel, bias) of its two dense layers."""
    return Head(*map(tf.convert_to_tensor, (*pre_classifier, *classifier)))


def cast_for_compute(weights, compute_dtype: tf.DType):
    """Returns a Weights, Block or tuple of Blocks with kernels and their biases in ``compute_dtype``.

    Done once for frozen weights; in a training step it is a differentiable part of the graph.
    """
    if isinstance(weights, Block):
        return Block(
            *(
                value if name.endswith(("gamma", "beta")) else tf.cast(value, compute_dtype)
                for name, value in zip(Block._fields, weights, strict=True)
            )
        )
    if isinstance(weights, Weights):
        return weights._replace(blocks=cast_for_compute(weights.blocks, compute_dtype))
    return tuple(cast_for_compute(block, compute_dtype) for block in weights)


def divide_logits(weights: Weights, temperature: float) -> Weights:
    """Returns weights with a temperature folded into the head: their logits are divided by it (calibration)."""
    head = weights.head
    return weights._replace(head=head._replace(kernel=head.kernel / temperature, bias=head.bias / temperature))


def logits(
    weights: Weights, input_ids: tf.Tensor, attention_mask: tf.Tensor, *, heads: int, activation: str = "gelu"
) -> tf.Tensor:
    """Runs the whole network without dropout.

    Args:
      weights: All weights; after `cast_for_compute`, matmuls run in its dtype.
      input_ids: int32[B, T].
      attention_mask: int32[B, T], 1 for a token and 0 for padding; position 0 is never padding.
      heads: Number of attention heads.
      activation: Activation of the feed-forward layers, "gelu" or "relu".

    Returns:
      float32[B, classes].
    """
    hidden = embed(weights.embeddings, input_ids)
    pooled = run_blocks(weights.blocks, hidden, attention_mask, heads=heads, activation=activation, pooled=True)
    return classify(weights.head, pooled)


def embed(
    embeddings: Embeddings, input_ids: tf.Tensor, *, dropout: DropoutFunction = no_dropout, rate: float = 0.0
) -> tf.Tensor:
    """Returns the embedding layer's output, float32[B, T, D]."""
    return embed_vectors(embeddings, tf.gather(embeddings.words, input_ids), dropout=dropout, rate=rate)


def embed_vectors(
    embeddings: Embeddings, vectors: tf.Tensor, *, dropout: DropoutFunction = no_dropout, rate: float = 0.0
) -> tf.Tensor:
    """Returns the embedding layer's output for rows of the word table or what lies between them, float32[B, T, D]."""
    shape = tf.shape(vectors)
    width = embeddings.words.shape[-1]
    x = vectors + embeddings.positions[: shape[1]]  # (B, T, D)
    x = _layer_norm(tf.reshape(x, [-1, width]), embeddings.gamma, embeddings.beta)
    return tf.reshape(dropout(x, rate), [shape[0], shape[1], width])


def run_blocks(
    blocks: Sequence[Block],
    hidden: tf.Tensor,
    attention_mask: tf.Tensor,
    *,
    heads: int,
    activation: str = "gelu",
    pooled: bool,
    dropout: DropoutFunction = no_dropout,
    rates: DropoutRates = NO_RATES,
) -> tf.Tensor:
    """Runs consecutive transformer blocks.

    Args:
      blocks: In order; matmuls run in the dtype of their kernels (see `cast_for_compute`).
      hidden: float32[B, T, D].
      attention_mask: int32[B, T].
      heads: Number of attention heads.
      activation: "gelu" or "relu".
      pooled: Whether these are the network's last blocks, whose output is needed for [CLS] only.
      dropout: `no_dropout` or the result of `seeded_dropout`.
      rates: Dropout rates; ``hidden`` and ``attention`` are used.

    Returns:
      float32[B, D], the [CLS] vectors, if ``pooled``; otherwise float32[B, T, D].
    """
    shape = tf.shape(hidden)
    width = hidden.shape[-1]
    bias = (1.0 - tf.cast(attention_mask, tf.float32))[:, None, None, :] * MASKED  # (B, 1, 1, T)
    x = tf.reshape(hidden, [-1, width])  # (B T, D)
    for number, block in enumerate(blocks, 1):
        first_token_only = pooled and number == len(blocks)
        if first_token_only:
            x = tf.reshape(x, [shape[0], shape[1], width])
            context = _first_token_attention(block, x, bias[:, 0], heads, dropout, rates.attention)
            x = x[:, 0]  # (B, D)
        else:
            context = _attention(block, x, bias, shape, heads, dropout, rates.attention)
        x = _layer_norm(x + context, block.attention_gamma, block.attention_beta)
        x = _layer_norm(
            x + _feed_forward(block, x, activation, dropout, rates.hidden),
            block.output_gamma,
            block.output_beta,
        )
    if pooled:
        return x if blocks else hidden[:, 0]
    return tf.reshape(x, [shape[0], shape[1], width])


def classify(head: Head, pooled: tf.Tensor, *, dropout: DropoutFunction = no_dropout, rate: float = 0.0) -> tf.Tensor:
    """Returns the logits, float32[B, classes], for [CLS] vectors float32[B, D]."""
    x = tf.nn.relu(tf.nn.bias_add(tf.matmul(pooled, head.pre_kernel), head.pre_bias))
    return tf.nn.bias_add(tf.matmul(dropout(x, rate), head.kernel), head.bias)


def _attention(block, x, bias, shape, heads, dropout, rate):
    """Multi-head self-attention with its output projection: x float32[B T, D] → float32[B T, D]."""
    dtype, width = block.qkv_kernel.dtype, x.shape[-1]
    qkv = _dense(tf.cast(x, dtype), block.qkv_kernel, block.qkv_bias)  # (B T, 3 D)
    qkv = tf.reshape(qkv, [shape[0], shape[1], 3, heads, width // heads])
    query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))  # each (B, H, T, D/H)
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) + bias  # (B, H, T, T)
    weights = dropout(tf.cast(tf.nn.softmax(scores), dtype), rate)
    context = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])  # (B, T, H, D/H)
    context = tf.reshape(context, [-1, width])
    return tf.cast(_dense(context, block.out_kernel, block.out_bias), tf.float32)


def _first_token_attention(block, x, bias, heads, dropout, rate):
    """Attention of the first token only, without keys and values: x float32[B, T, D] → float32[B, D].

    With one query per text, q (W x) = (q W) x: the keys' weights are multiplied by B queries instead of B T tokens, and
    the values' weights by the B weighted means of x. That is a thirtieth of the operations for all tokens.
    """
    dtype, width = block.qkv_kernel.dtype, x.shape[-1]
    x = tf.cast(x, dtype)
    kernels = tf.transpose(tf.reshape(block.qkv_kernel, [width, 3, heads, width // heads]), [1, 2, 0, 3])
    to_query, to_key, to_value = tf.unstack(kernels)  # each (H, D, D/H)
    query_bias, key_bias, value_bias = tf.unstack(tf.reshape(block.qkv_bias, [3, heads, 1, width // heads]))
    query = tf.matmul(x[:, 0], to_query) + query_bias  # (H, B, D/H)
    sought = tf.transpose(tf.matmul(query, to_key, transpose_b=True), [1, 0, 2])  # (B, H, D)
    offset = tf.transpose(tf.matmul(query, key_bias, transpose_b=True), [1, 0, 2])  # (B, H, 1)
    scores = tf.cast(tf.matmul(sought, x, transpose_b=True) + offset, tf.float32) + bias  # (B, H, T)
    weights = dropout(tf.cast(tf.nn.softmax(scores), dtype), rate)
    mean = tf.transpose(tf.matmul(weights, x), [1, 0, 2])  # (H, B, D)
    total = tf.transpose(tf.reduce_sum(weights, axis=-1, keepdims=True), [1, 0, 2])  # (H, B, 1); 1 without dropout
    context = tf.matmul(mean, to_value) + total * value_bias  # (H, B, D/H)
    context = tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, width])
    return tf.cast(_dense(context, block.out_kernel, block.out_bias), tf.float32)


def _feed_forward(block, x, activation, dropout, rate):
    """The two-layer perceptron: x float32[N, D] → float32[N, D]."""
    x = _dense(tf.cast(x, block.lin1_kernel.dtype), block.lin1_kernel, block.lin1_bias)
    if activation == "relu":
        x = tf.nn.relu(x)
    else:  # the gradient needs the GELU's input, which the fused kernel does not keep
        x = tf.nn.gelu(x, approximate=False) if dropout is no_dropout else _gelu(x)
    return dropout(tf.cast(_dense(x, block.lin2_kernel, block.lin2_bias), tf.float32), rate)


def _dense(x, kernel, bias):
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


@tf.custom_gradient
def _gelu(x):
    """The exact GELU, x Φ(x) (Hendrycks & Gimpel, arXiv:1606.08415), in float32 with its own gradient.

    Outside the fused kernel tf.nn.gelu calls erfc, which in bfloat16 is several times slower than erf in float32.
    """
    wide = tf.cast(x, tf.float32)
    probability = 0.5 + 0.5 * tf.math.erf(wide * math.sqrt(0.5))  # Φ(x)

    def gradient(upstream):
        density = tf.exp(-0.5 * tf.square(wide)) * (1.0 / math.sqrt(2.0 * math.pi))
        return tf.cast(tf.cast(upstream, tf.float32) * (probability + wide * density), x.dtype)

    return tf.cast(wide * probability, x.dtype), gradient


@tf.custom_gradient
def _layer_norm(x, gamma, beta):
    """LayerNorm over the last axis, float32 (Ba et al., arXiv:1607.06450), with its gradient in closed form."""
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True) + LAYER_NORM_EPSILON)

    def gradient(upstream):
        normal = centred * inverse
        inner = upstream * gamma
        along = tf.reduce_mean(inner * normal, axis=-1, keepdims=True)
        dx = (inner - tf.reduce_mean(inner, axis=-1, keepdims=True) - normal * along) * inverse
        return dx, tf.reduce_sum(upstream * normal, axis=0), tf.reduce_sum(upstream, axis=0)

    return centred * (inverse * gamma) + beta, gradient
