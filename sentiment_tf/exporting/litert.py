"""Writes a trained classifier for LiteRT (TensorFlow Lite): phones, browsers, and `inference.engines.litert`.

The graph is `encoder.logits` for texts of equal length, so without a mask, in built-in operations of TensorFlow Lite
alone. Two sums of attention are left out, for softmax does not see the one and the bias of the output projection holds
the other: a key's bias adds the same to every score of a query, and weights that sum to 1 pass a value's bias on.

The int8 file holds weights in eight bits; activations are rounded while it runs, each token by its own scale (LiteRT's
"dynamic range"). So no text's answer depends on the texts beside it.
"""

import json
import os
from pathlib import Path

import numpy as np

from sentiment_tf.exporting import layout, quantization
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.exporting.tflite_graph import Graph, schema
from sentiment_tf.modeling import encoder

# The oldest versions of these operations that read weights with a scale for each row.
_ROWS_OF_INT8 = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 4}


def write(bundle: Bundle, directory: str | os.PathLike) -> None:
    """Writes `model.tflite` (float32), `model_int8.tflite` and what an engine needs beside them.

    Both files have one signature, `serving_default(input_ids: int32[batch, length])` → `logits`
    float32[batch, classes], for rows without padding: texts of equal length, or one text.

    Args:
      bundle: the trained model.
      directory: such as `<run>/litert`; must not exist.

    Raises:
      FileExistsError: the folder is there already.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    for precision, name in layout.LITERT_FILES.items():
        write_model(
            directory / name,
            weights=bundle.weights,
            heads=bundle.heads,
            activation=bundle.activation,
            quantize=precision == "int8",
        )
    config = {"label_names": list(bundle.label_names), "max_length": bundle.max_length, **bundle.decision}
    for name, content in ((layout.TOKENIZER, bundle.tokenizer), (layout.LITERT_CONFIG, config)):
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        (directory / name).write_text(text, encoding="utf-8")


def write_model(
    path: str | os.PathLike, *, weights: encoder.Weights, heads: int, activation: str = "gelu", quantize: bool
) -> None:
    """Writes one .tflite file; see `write`.

    Args:
      path: of the file.
      weights: of the trained model, any float dtype.
      heads: number of attention heads.
      activation: "gelu" or "relu".
      quantize: whether matrices and the word table are rounded to int8.
    """
    graph = Graph()
    input_ids = graph.input("input_ids", [-1, -1], np.int32)
    network = _Network(graph, input_ids, width=int(weights.embeddings.words.shape[-1]), heads=heads, quantize=quantize)
    x = network.embed(weights.embeddings)
    for block in weights.blocks[:-1]:
        x = network.block(block, x, network.attention(block, x), activation)
    if weights.blocks:
        first = network.first_tokens(x)
        x = network.block(weights.blocks[-1], first, network.first_token_attention(weights.blocks[-1], x), activation)
    else:
        x = network.first_tokens(x)
    graph.write(path, inputs={"input_ids": input_ids}, outputs={"logits": network.classify(weights.head, x)})


class _Network:
    """The layers, over a graph. Shapes in comments: B batch, T tokens, D width, H heads."""

    def __init__(self, graph: Graph, input_ids: int, *, width: int, heads: int, quantize: bool):
        self._graph, self._input_ids, self._quantize = graph, input_ids, quantize
        self._width, self._heads, self._head_width = width, heads, width // heads
        (self._batch_and_length,) = graph.add(
            "SHAPE", [input_ids], [2], dtype=np.int32, outType=schema.TensorType.INT32
        )
        self._by_text = self._shape_of_texts(width)  # B, T, D
        self._by_text_and_head = self._shape_of_texts(3 * heads, self._head_width)  # B, T, 3 H, D/H

    def embed(self, embeddings: encoder.Embeddings) -> int:
        """Returns float32[B T, D]."""
        graph, width = self._graph, self._width
        ids = self._reshape(self._input_ids, [-1], dtype=np.int32)
        if self._quantize:
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

    def attention(self, block: encoder.Block, x: int) -> int:
        """Returns the weighted means of the values, float32[B T, D], of x float32[B T, D]."""
        heads, size = self._heads, self._head_width
        bias = _array(block.qkv_bias).copy()
        bias[self._width :] = 0  # of keys and values: see the module's docstring
        qkv = self._dense(x, _array(block.qkv_kernel), bias)
        qkv = self._add("RESHAPE", [qkv, self._by_text_and_head], [-1, -1, 3 * heads, size])
        qkv = self._transpose(qkv, [0, 2, 1, 3], [-1, 3 * heads, -1, size])
        axis = self._graph.constant(np.array(1, np.int32))
        query, key, value = self._graph.add("SPLIT", [axis, qkv], [-1, heads, -1, size], outputs=3, numSplits=3)
        scores = self._matmul(query, key, [-1, heads, -1, -1], transpose_b=True)  # (B, H, T, T)
        context = self._matmul(self._softmax(scores, [-1, heads, -1, -1]), value, [-1, heads, -1, size])
        context = self._transpose(context, [0, 2, 1, 3], [-1, -1, heads, size])
        return self._reshape(context, [-1, self._width])

    def first_token_attention(self, block: encoder.Block, x: int) -> int:
        """Returns what `attention` gives for [CLS], float32[B, D], as the encoder does it."""
        heads, size, width = self._heads, self._head_width, self._width
        kernels = _array(block.qkv_kernel).reshape(width, 3, heads, size).transpose(1, 2, 0, 3)
        to_query = _array(block.qkv_kernel)[:, :width]
        to_key, to_value = kernels[1].transpose(0, 2, 1), kernels[2]  # (H, D/H, D) and (H, D, D/H)
        query = self._dense(self.first_tokens(x), to_query, _array(block.qkv_bias)[:width])
        query = self._transpose(self._reshape(query, [-1, heads, size]), [1, 0, 2], [heads, -1, size])
        sought = self._matmul(query, self._graph.constant(to_key), [heads, -1, width])
        sought = self._transpose(sought, [1, 0, 2], [-1, heads, width])
        texts = self._add("RESHAPE", [x, self._by_text], [-1, -1, width])
        scores = self._matmul(sought, texts, [-1, heads, -1], transpose_b=True)  # (B, H, T)
        mean = self._matmul(self._softmax(scores, [-1, heads, -1]), texts, [-1, heads, width])
        mean = self._transpose(mean, [1, 0, 2], [heads, -1, width])
        context = self._matmul(mean, self._graph.constant(to_value), [heads, -1, size])
        return self._reshape(self._transpose(context, [1, 0, 2], [-1, heads, size]), [-1, width])

    def block(self, block: encoder.Block, x: int, context: int, activation: str) -> int:
        """Returns float32[N, D]: what follows attention, for x and context float32[N, D]."""
        out_kernel = _array(block.out_kernel)
        out_bias = _array(block.out_bias) + _array(block.qkv_bias)[2 * self._width :] @ out_kernel
        x = self._sum(x, self._dense(context, out_kernel, out_bias))
        x = self._layer_norm(x, block.attention_gamma, block.attention_beta)
        hidden = self._dense(x, _array(block.lin1_kernel), _array(block.lin1_bias), relu=activation == "relu")
        if activation == "gelu":
            hidden = self._add("GELU", [hidden], [-1, int(block.lin1_bias.shape[0])], approximate=False)
        x = self._sum(x, self._dense(hidden, _array(block.lin2_kernel), _array(block.lin2_bias)))
        return self._layer_norm(x, block.output_gamma, block.output_beta)

    def first_tokens(self, x: int) -> int:
        """Returns float32[B, D] of x float32[B T, D]."""
        texts = self._add("RESHAPE", [x, self._by_text], [-1, -1, self._width])
        begin, size = self._graph.integers(0, 0, 0), self._graph.integers(-1, 1, self._width)
        return self._reshape(self._add("SLICE", [texts, begin, size], [-1, 1, self._width]), [-1, self._width])

    def classify(self, head: encoder.Head, x: int) -> int:
        """Returns logits float32[B, classes] of x float32[B, D]."""
        x = self._dense(x, _array(head.pre_kernel), _array(head.pre_bias), relu=True)
        # The few weights that make the answer stay exact; they are too few to cost time or room.
        return self._dense(x, _array(head.kernel), _array(head.bias), quantize=False)

    def _dense(self, x, kernel, bias, *, relu=False, quantize=True):
        rows, version, asymmetric = np.ascontiguousarray(kernel.T), 1, False
        if self._quantize and quantize:
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
