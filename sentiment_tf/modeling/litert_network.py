"""`encoder` written down for LiteRT (TensorFlow Lite): for the exports, and for frozen layers in int8.

The graph takes texts of equal length, so it has no mask, and consists of TensorFlow Lite's built-in operations alone.
Two terms of attention are left out, because softmax ignores the one and the bias of the output projection contains the
other: a key's bias adds the same to every score of a query, and weights that sum to 1 pass a value's bias on.

With int8, the weights are stored in eight bits; activations are rounded while it runs, each token by its own scale
(LiteRT's "dynamic range"), divided by `quantization.Divisors` before. No text's result depends on the texts beside it.
The head stays in float32: it costs nearly nothing, and a solved head amplifies small differences between features.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sentiment_tf.modeling import encoder, litert_runtime, quantization
from sentiment_tf.modeling.quantization import Divisors
from sentiment_tf.modeling.tflite_graph import Graph, schema
from sentiment_tf.system import runtime

TEXTS, LENGTH = 32, 32  # of random words, from which `find_divisors` sees how large activations get
# The oldest versions of these operations that read weights with a scale for each row.
_ROWS_OF_INT8 = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}


def write_classifier(
    path: str | os.PathLike,
    *,
    weights: encoder.Weights,
    heads: int,
    activation: str = "gelu",
    divisors: Sequence[Divisors] | None = None,
) -> None:
    """Writes a .tflite file; its signature is `serving_default(input_ids: int32[B, T])` → `logits` float32[B, classes].

    Args:
      path: The file to write.
      weights: The trained model, any float dtype.
      heads: Number of attention heads.
      activation: "gelu" or "relu".
      divisors: From `find_divisors`, to round matrices and the word table to int8; None writes float32.
    """
    network = _Network(weights.embeddings, heads=heads, activation=activation, divisors=divisors)
    cls = network.encode(weights.blocks, depths=[0])[0]
    network.write(path, {"logits": network.classify(weights.head, cls)})


def write_frozen_layers(
    path: str | os.PathLike,
    *,
    weights: encoder.Weights,
    heads: int,
    activation: str,
    depths: Sequence[int],
) -> None:
    """Writes an int8 file like `write_classifier`, with an output for each depth: the input of that many top blocks.

    An output is named by its depth: float32[B, D] at depth 0, the [CLS] vectors, else float32[B T, D], hidden states.

    Args:
      path, heads, activation: As in `write_classifier`.
      weights: The whole model; its head is not used.
      depths: Below the number of blocks.
    """
    # The last block computes one token of each text, so that float32 costs nothing there.
    rounding = [*find_divisors(weights, heads=heads, activation=activation)[:-1], None]
    network = _Network(weights.embeddings, heads=heads, activation=activation, divisors=rounding)
    network.write(path, {str(depth): output for depth, output in network.encode(weights.blocks, depths=depths).items()})


def find_divisors(weights: encoder.Weights, *, heads: int, activation: str) -> list[Divisors]:
    """Returns the divisors of each block, from what the float32 network makes of random words.

    Args:
      weights: The whole model; its head is not used.
      heads, activation: As in `write_classifier`.
    """
    blocks, shape = weights.blocks, (TEXTS, min(LENGTH, len(weights.embeddings.positions)))
    if not blocks:
        return []
    table = _array(weights.embeddings.words)
    words = table[np.random.default_rng(0).integers(len(table), size=np.prod(shape))]
    network = _Network(weights.embeddings._replace(words=words), heads=heads, activation=activation, divisors=None)
    network.encode(blocks, depths=[0])
    names = [str(number) for number in range(2 * len(blocks))]
    with tempfile.TemporaryDirectory(prefix="sentiment_tf-") as folder:
        path = Path(folder) / "float32.tflite"
        network.write(path, dict(zip(names, network.dense_inputs, strict=True)))
        interpreter = litert_runtime.Interpreter(path, threads=1, outputs=names)
        with runtime.quiet_stderr():  # a process's first call reports that LiteRT uses XNNPACK
            inputs = interpreter(np.arange(len(words), dtype=np.int32).reshape(shape))
    return [
        Divisors(
            quantization.divisor(qkv, _array(block.qkv_kernel)), quantization.divisor(lin1, _array(block.lin1_kernel))
        )
        for block, qkv, lin1 in zip(blocks, inputs[::2], inputs[1::2], strict=True)
    ]


class _Network:
    """The layers, over a graph. Shapes in comments: B batch, T tokens, D width, H heads."""

    def __init__(
        self, embeddings: encoder.Embeddings, *, heads: int, activation: str, divisors: Sequence[Divisors | None] | None
    ):
        self._graph, self._embeddings, self._activation, self._divisors = Graph(), embeddings, activation, divisors
        self.dense_inputs: list[int] = []  # of attention and of the feed-forward part, block after block
        width = int(embeddings.words.shape[-1])
        self._width, self._heads, self._head_width = width, heads, width // heads
        self._input_ids = self._graph.input("input_ids", [-1, -1], np.int32)
        self._batch_and_length = self._add(
            "SHAPE", [self._input_ids], [2], dtype=np.int32, outType=schema.TensorType.INT32
        )
        self._by_text = self._shape_of_texts(width)  # B, T, D
        self._by_text_and_head = self._shape_of_texts(3 * heads, self._head_width)  # B, T, 3 H, D/H

    def encode(self, blocks: Sequence[encoder.Block], *, depths: Sequence[int]) -> dict[int, int]:
        """Returns the input of so many top blocks for each of the depths: float32[B T, D]; at 0, float32[B, D]."""
        x, outputs = self.embed(), {}
        for number, block in enumerate(blocks):
            if (above := len(blocks) - number) in depths:
                outputs[above] = x
            if above == min(depths):
                return outputs
            divisors = self._divisors[number] if self._divisors is not None else None
            if above > 1:
                x = self.block(block, x, self.attention(block, x, divisors), divisors)
            else:
                x = self.block(block, self.first_tokens(x), self.first_token_attention(block, x, divisors), divisors)
        return outputs | {0: x if blocks else self.first_tokens(x)}

    def write(self, path: str | os.PathLike, outputs: dict[str, int]) -> None:
        """Writes the file."""
        self._graph.write(path, inputs={"input_ids": self._input_ids}, outputs=outputs)

    def embed(self) -> int:
        """Returns float32[B T, D]."""
        graph, width, embeddings = self._graph, self._width, self._embeddings
        ids = self._reshape(self._input_ids, [-1], dtype=np.int32)
        if self._divisors is not None:
            values, scales = quantization.per_row(_array(embeddings.words))
            words = self._add(
                "EMBEDDING_LOOKUP",
                [ids, graph.constant(values, scales=scales)],
                [-1, width],
                version=_ROWS_OF_INT8["EMBEDDING_LOOKUP"],
            )
        else:
            words = self._add("GATHER", [graph.constant(_array(embeddings.words)), ids], [-1, width])
        words = self._add("RESHAPE", [words, self._by_text], [-1, -1, width])
        table, one = graph.constant(_array(embeddings.positions)), graph.integers(1)
        length = self._add("STRIDED_SLICE", [self._batch_and_length, one, graph.integers(2), one], [1], dtype=np.int32)
        positions = self._add("STRIDED_SLICE", [table, graph.integers(0), length, one], [-1, width])
        x = self._reshape(self._add("ADD", [words, positions], [-1, -1, width]), [-1, width])
        return self._layer_norm(x, embeddings.gamma, embeddings.beta)

    def attention(self, block: encoder.Block, x: int, divisors: Divisors | None) -> int:
        """Returns the weighted means of the values, float32[B T, D], of x float32[B T, D]."""
        heads, size = self._heads, self._head_width
        bias = _array(block.qkv_bias).copy()
        bias[self._width :] = 0  # of keys and values: see the module's docstring
        qkv = self._smoothed_dense(x, _array(block.qkv_kernel), bias, divisors and divisors.qkv)
        qkv = self._add("RESHAPE", [qkv, self._by_text_and_head], [-1, -1, 3 * heads, size])
        qkv = self._transpose(qkv, [0, 2, 1, 3], [-1, 3 * heads, -1, size])
        axis = self._graph.constant(np.array(1, np.int32))
        query, key, value = self._graph.add("SPLIT", [axis, qkv], [-1, heads, -1, size], outputs=3, numSplits=3)
        scores = self._matmul(query, key, [-1, heads, -1, -1], transpose_b=True)  # (B, H, T, T)
        context = self._matmul(self._softmax(scores, [-1, heads, -1, -1]), value, [-1, heads, -1, size])
        context = self._transpose(context, [0, 2, 1, 3], [-1, -1, heads, size])
        return self._reshape(context, [-1, self._width])

    def first_token_attention(self, block: encoder.Block, x: int, divisors: Divisors | None) -> int:
        """Returns what `attention` gives for [CLS], float32[B, D], as the encoder does it."""
        heads, size, width = self._heads, self._head_width, self._width
        kernels = _array(block.qkv_kernel).reshape(width, 3, heads, size).transpose(1, 2, 0, 3)
        to_query = _array(block.qkv_kernel)[:, :width]
        to_key, to_value = kernels[1].transpose(0, 2, 1), kernels[2]  # (H, D/H, D) and (H, D, D/H)
        bias = _array(block.qkv_bias)[:width]
        query = self._smoothed_dense(self.first_tokens(x), to_query, bias, divisors and divisors.qkv)
        query = self._transpose(self._reshape(query, [-1, heads, size]), [1, 0, 2], [heads, -1, size])
        sought = self._matmul(query, self._graph.constant(to_key), [heads, -1, width])
        sought = self._transpose(sought, [1, 0, 2], [-1, heads, width])
        texts = self._add("RESHAPE", [x, self._by_text], [-1, -1, width])
        scores = self._matmul(sought, texts, [-1, heads, -1], transpose_b=True)  # (B, H, T)
        mean = self._matmul(self._softmax(scores, [-1, heads, -1]), texts, [-1, heads, width])
        mean = self._transpose(mean, [1, 0, 2], [heads, -1, width])
        context = self._matmul(mean, self._graph.constant(to_value), [heads, -1, size])
        return self._reshape(self._transpose(context, [1, 0, 2], [-1, heads, size]), [-1, width])

    def block(self, block: encoder.Block, x: int, context: int, divisors: Divisors | None) -> int:
        """Returns float32[N, D]: what follows attention, for x and context float32[N, D]."""
        quantize, relu = divisors is not None, self._activation == "relu"
        out_kernel = _array(block.out_kernel)
        out_bias = _array(block.out_bias) + _array(block.qkv_bias)[2 * self._width :] @ out_kernel
        x = self._sum(x, self._dense(context, out_kernel, out_bias, quantize=quantize))
        x = self._layer_norm(x, block.attention_gamma, block.attention_beta)
        kernel, bias = _array(block.lin1_kernel), _array(block.lin1_bias)
        hidden = self._smoothed_dense(x, kernel, bias, divisors and divisors.lin1, relu=relu)
        if not relu:
            hidden = self._add("GELU", [hidden], [-1, int(block.lin1_bias.shape[0])], approximate=False)
        kernel, bias = _array(block.lin2_kernel), _array(block.lin2_bias)
        x = self._sum(x, self._dense(hidden, kernel, bias, quantize=quantize))
        return self._layer_norm(x, block.output_gamma, block.output_beta)

    def first_tokens(self, x: int) -> int:
        """Returns float32[B, D] of x float32[B T, D]."""
        texts = self._add("RESHAPE", [x, self._by_text], [-1, -1, self._width])
        begin, size = self._graph.integers(0, 0, 0), self._graph.integers(-1, 1, self._width)
        return self._reshape(self._add("SLICE", [texts, begin, size], [-1, 1, self._width]), [-1, self._width])

    def classify(self, head: encoder.Head, x: int) -> int:
        """Returns logits float32[B, classes] of x float32[B, D]."""
        x = self._dense(x, _array(head.pre_kernel), _array(head.pre_bias), relu=True)
        return self._dense(x, _array(head.kernel), _array(head.bias))

    def _smoothed_dense(self, x, kernel, bias, divisor, *, relu=False):
        self.dense_inputs.append(x)
        if divisor is None:
            return self._dense(x, kernel, bias, relu=relu)
        x = self._add("MUL", [x, self._graph.constant(1 / divisor)], [-1, self._width])
        return self._dense(x, kernel * divisor[:, None], bias, relu=relu, quantize=True)

    def _dense(self, x, kernel, bias, *, relu=False, quantize=False):
        rows, version, asymmetric = np.ascontiguousarray(kernel.T), 1, False
        if quantize:
            values, scales = quantization.per_row(rows)
            matrix = self._graph.constant(values, scales=scales)
            version, asymmetric = _ROWS_OF_INT8["FULLY_CONNECTED"], True
        else:
            matrix = self._graph.constant(rows)
        return self._add(
            "FULLY_CONNECTED",
            [x, matrix, self._graph.constant(bias)],
            [-1, len(rows)],
            version=version,
            fusedActivationFunction=getattr(schema.ActivationFunctionType, "RELU" if relu else "NONE"),
            asymmetricQuantizeInputs=asymmetric,
        )

    def _layer_norm(self, x, gamma, beta):
        width, gamma, beta = self._width, self._graph.constant(_array(gamma)), self._graph.constant(_array(beta))
        mean = self._mean(x)
        centred = self._add("SUB", [x, mean], [-1, width])
        variance = self._mean(self._add("SQUARED_DIFFERENCE", [x, mean], [-1, width]))
        epsilon = self._graph.constant(np.array(encoder.LAYER_NORM_EPSILON, np.float32))
        inverse = self._add("RSQRT", [self._add("ADD", [variance, epsilon], [-1, 1])], [-1, 1])
        scaled = self._add("MUL", [centred, self._add("MUL", [inverse, gamma], [-1, width])], [-1, width])
        return self._sum(scaled, beta)

    def _mean(self, x):
        return self._add("MEAN", [x, self._graph.integers(1)], [-1, 1], keepDims=True)

    def _sum(self, x, y):
        return self._add("ADD", [x, y], [-1, self._width])

    def _softmax(self, x, shape):
        return self._add("SOFTMAX", [x], shape, beta=1.0)

    def _matmul(self, a, b, shape, *, transpose_b=False):
        return self._add("BATCH_MATMUL", [a, b], shape, adjY=transpose_b)

    def _transpose(self, x, order, shape):
        return self._add("TRANSPOSE", [x, self._graph.integers(*order)], shape)

    def _reshape(self, x, shape, *, dtype=np.float32):
        new_shape = np.array(shape, np.int32)
        return self._add("RESHAPE", [x, self._graph.integers(*shape)], shape, dtype=dtype, newShape=new_shape)

    def _shape_of_texts(self, *sizes):
        inputs = [self._batch_and_length, self._graph.integers(*sizes)]
        return self._add("CONCATENATION", inputs, [2 + len(sizes)], dtype=np.int32)

    def _add(self, operation, inputs, shape, **options):
        (output,) = self._graph.add(operation, inputs, shape, **options)
        return output


def _array(weight) -> np.ndarray:
    return np.asarray(weight, np.float32)
