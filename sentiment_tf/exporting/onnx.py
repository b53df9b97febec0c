"""Writes a trained classifier as ONNX, for ONNX Runtime and transformers.js, node by node from its weights.

Standard operators alone, opset 17: LayerNormalization is the youngest of them, and every ONNX Runtime since 1.12 has
it (opset 20's Gelu was no faster).

In the int8 file each token's activations have a scale of their own, and so has each output channel of the weights.
`quantize_dynamic`, the usual way, takes one scale for a whole batch: a text's answer then depends on the texts and
the padding beside it. One scale per token costs a tenth more time than that form written by hand, and less time than
the file that `quantize_dynamic` makes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from sentiment_tf.exporting import layout
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.modeling import encoder, quantization
from sentiment_tf.modeling.quantization import Divisors

OPSET = 17
_IR_VERSION = 8  # the one that came with opset 17; onnx would write its own newest
_SMALL = 16  # values; constants of that size are axes and shapes, which many nodes share
_UNSIGNED_ZERO = 128  # uint8 activations around it: processors multiply uint8 by int8
_LEAST_RANGE = 1e-20  # of a token's activations; all of them 0 would otherwise divide by 0


def write(bundle: Bundle, directory: str | os.PathLike) -> None:
    """Writes `model.onnx` (float32) and `model_quantized.onnx` (int8); see `write_model`.

    Args:
      bundle: the trained model.
      directory: such as `<run>/hf/onnx`; must not exist.

    Raises:
      FileExistsError: the folder is there already.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    for precision, name in layout.ONNX_FILES.items():
        write_model(
            directory / name,
            weights=bundle.weights,
            heads=bundle.heads,
            activation=bundle.activation,
            divisors=bundle.divisors if precision == "int8" else None,
        )


def write_model(
    path: str | os.PathLike,
    *,
    weights: encoder.Weights,
    heads: int,
    activation: str = "gelu",
    divisors: Sequence[Divisors] | None = None,
) -> None:
    """Writes one .onnx file.

    Inputs `input_ids` and `attention_mask`, int64[batch_size, sequence_length]; output `logits`
    float32[batch_size, classes].

    Args:
      path: the file to write.
      weights: the trained model, any float dtype; a calibration's temperature is in the classifier's.
      heads: number of attention heads.
      activation: "gelu" or "relu", in the feed-forward part.
      divisors: from `litert_network.find_divisors`, to round matrices and the word table to int8; None writes float32.
    """
    nodes = _Nodes()
    network = _Network(nodes, heads=heads, activation=activation)
    x = network.embed(weights.embeddings, quantize=divisors is not None)
    of_blocks: Sequence[Divisors | None] = divisors or [None] * len(weights.blocks)
    for block, of_block in zip(weights.blocks[:-1], of_blocks[:-1], strict=True):
        x = network.block(block, x, network.attention(block, x, of_block), of_block)
    first = network.first_tokens(x)
    if weights.blocks:
        last = weights.blocks[-1]
        first = network.block(last, first, network.first_token_attention(last, x), of_blocks[-1])
    classes = int(weights.head.bias.shape[0])
    model = nodes.model(network.classify(weights.head, first), classes)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


class _Nodes:
    """The nodes and constants of a model; a value is known by its name.

    They are made where they stay: onnx.helper's functions copy a graph, weights and all, at every step.
    """

    def __init__(self):
        self._model, self._small = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="sentiment_tf"), {}
        self._model.opset_import.add(domain="", version=OPSET)
        self._graph = self._model.graph
        self._graph.name = "classifier"

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes):
        """Adds a node; returns the name of its output, or the names of several."""
        names = [f"{operator}_{len(self._graph.node)}_{number}" for number in range(outputs)]
        self._graph.node.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values) -> str:
        """Adds a constant of NumPy's type; a small one once."""
        values = np.asarray(values)
        data = values.tobytes()
        key = (values.dtype.str, values.shape, data) if values.size <= _SMALL else None
        if key in self._small:
            return self._small[key]
        name = f"constant_{len(self._graph.initializer)}"
        data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        self._graph.initializer.add(name=name, data_type=data_type, dims=values.shape, raw_data=data)
        if key:
            self._small[key] = name
        return name

    def number(self, value: float) -> str:
        """Adds a float32 scalar."""
        return self.constant(np.float32(value))

    def integers(self, *values: int) -> str:
        """Adds an int64[n]."""
        return self.constant(np.array(values, np.int64))

    def model(self, output: str, classes: int) -> onnx.ModelProto:
        """Returns the model whose logits are `output`."""
        self._graph.node.append(helper.make_node("Identity", [output], ["logits"]))
        for name in ("input_ids", "attention_mask"):
            axes = ["batch_size", "sequence_length"]
            self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, axes))
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", classes])
        self._graph.output.append(logits)
        return self._model


class _Network:
    """The layers, over nodes. Shapes in comments: B batch, T tokens, D width, H heads.

    Values stay three-dimensional and biases are added by nodes of their own: so ONNX Runtime finds what it can fuse.
    """

    def __init__(self, nodes: _Nodes, *, heads: int, activation: str):
        self._nodes, self._heads, self._activation = nodes, heads, activation
        self._shape = nodes.add("Shape", "input_ids")
        mask = nodes.add("Cast", "attention_mask", to=TensorProto.FLOAT)
        padding = nodes.add("Sub", nodes.number(1), mask)
        bias = nodes.add("Mul", padding, nodes.number(encoder.MASKED))
        self._bias = nodes.add("Unsqueeze", bias, nodes.integers(1))  # (B, 1, T)
        self._bias_by_head = nodes.add("Unsqueeze", bias, nodes.integers(1, 2))  # (B, 1, 1, T)

    def embed(self, embeddings: encoder.Embeddings, *, quantize: bool) -> str:
        """Returns float32[B, T, D]."""
        nodes, table = self._nodes, _array(embeddings.words)
        if quantize:
            values, scales = quantization.per_row(table)
            words = nodes.add("Gather", nodes.constant(values), "input_ids")
            steps = nodes.add("Gather", nodes.constant(scales[:, None]), "input_ids")
            words = nodes.add("Mul", nodes.add("Cast", words, to=TensorProto.FLOAT), steps)
        else:
            words = nodes.add("Gather", nodes.constant(table), "input_ids")
        length = nodes.add("Slice", self._shape, nodes.integers(1), nodes.integers(2))
        places = nodes.constant(_array(embeddings.positions))
        positions = nodes.add("Slice", places, nodes.integers(0), length, nodes.integers(0))
        return self._layer_norm(nodes.add("Add", words, positions), embeddings.gamma, embeddings.beta)

    def attention(self, block: encoder.Block, x: str, divisors: Divisors | None) -> str:
        """Returns the weighted means of the values, float32[B, T, D], of x float32[B, T, D]."""
        nodes, heads = self._nodes, self._heads
        width = int(block.out_kernel.shape[0])
        by_head = nodes.integers(0, 0, heads, width // heads)
        qkv = self._smoothed_dense(x, _array(block.qkv_kernel), _array(block.qkv_bias), divisors and divisors.qkv)
        query, key, value = (
            nodes.add("Reshape", part, by_head)
            for part in nodes.add("Split", qkv, nodes.integers(width, width, width), outputs=3, axis=2)
        )
        query, value = (nodes.add("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = nodes.add("MatMul", query, nodes.add("Transpose", key, perm=[0, 2, 3, 1]))  # (B, H, T, T)
        weights = nodes.add("Softmax", nodes.add("Add", scores, self._bias_by_head), axis=-1)
        context = nodes.add("Transpose", nodes.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        return nodes.add("Reshape", context, nodes.integers(0, 0, width))

    def first_token_attention(self, block: encoder.Block, x: str) -> str:
        """Returns what `attention` gives for [CLS], float32[B, D], as the encoder does it."""
        nodes, heads = self._nodes, self._heads
        width = int(block.out_kernel.shape[0])
        kernels = _array(block.qkv_kernel).reshape(width, 3, heads, width // heads).transpose(1, 2, 0, 3)
        to_key, to_value = kernels[1].transpose(0, 2, 1), kernels[2]  # (H, D/H, D) and (H, D, D/H)
        kernel, bias = _array(block.qkv_kernel)[:, :width], _array(block.qkv_bias)
        query = self._dense(self.first_tokens(x), kernel, bias[:width])
        query = nodes.add("Reshape", query, nodes.integers(0, heads, width // heads))
        query = nodes.add("Transpose", query, perm=[1, 0, 2])  # (H, B, D/H)
        # The keys' biases add the same to all scores of a query: softmax does not see them.
        sought = nodes.add("Transpose", nodes.add("MatMul", query, nodes.constant(to_key)), perm=[1, 0, 2])  # (B, H, D)
        scores = nodes.add("MatMul", sought, nodes.add("Transpose", x, perm=[0, 2, 1]))  # (B, H, T)
        weights = nodes.add("Softmax", nodes.add("Add", scores, self._bias), axis=-1)
        mean = nodes.add("Transpose", nodes.add("MatMul", weights, x), perm=[1, 0, 2])  # (H, B, D)
        context = nodes.add("Transpose", nodes.add("MatMul", mean, nodes.constant(to_value)), perm=[1, 0, 2])
        context = nodes.add("Reshape", context, nodes.integers(0, width))
        return nodes.add("Add", context, nodes.constant(bias[2 * width :]))

    def block(self, block: encoder.Block, x: str, context: str, divisors: Divisors | None) -> str:
        """Returns what follows attention, of the shape of x and context, float32[…, D]."""
        quantize = divisors is not None
        context = self._dense(context, _array(block.out_kernel), _array(block.out_bias), quantize=quantize)
        x = self._layer_norm(self._nodes.add("Add", context, x), block.attention_gamma, block.attention_beta)
        kernel, bias = _array(block.lin1_kernel), _array(block.lin1_bias)
        hidden = self._smoothed_dense(x, kernel, bias, divisors and divisors.lin1)
        hidden = self._nodes.add("Relu", hidden) if self._activation == "relu" else self._gelu(hidden)
        hidden = self._dense(hidden, _array(block.lin2_kernel), _array(block.lin2_bias), quantize=quantize)
        return self._layer_norm(self._nodes.add("Add", hidden, x), block.output_gamma, block.output_beta)

    def first_tokens(self, x: str) -> str:
        """Returns float32[B, D] of x float32[B, T, D]."""
        return self._nodes.add("Gather", x, self._nodes.constant(np.int64(0)), axis=1)

    def classify(self, head: encoder.Head, x: str) -> str:
        """Returns logits float32[B, classes] of x float32[B, D]."""
        # In float32 always: a solved head amplifies small differences between features.
        x = self._nodes.add("Relu", self._dense(x, _array(head.pre_kernel), _array(head.pre_bias)))
        return self._dense(x, _array(head.kernel), _array(head.bias))

    def _smoothed_dense(self, x, kernel, bias, divisor):
        if divisor is None:
            return self._dense(x, kernel, bias)
        x = self._nodes.add("Mul", x, self._nodes.constant(1 / divisor))
        return self._dense(x, kernel * divisor[:, None], bias, quantize=True)

    def _dense(self, x, kernel, bias, *, quantize=False):
        if quantize:
            product = self._integer_product(x, kernel)
        else:
            product = self._nodes.add("MatMul", x, self._nodes.constant(kernel))
        return self._nodes.add("Add", product, self._nodes.constant(bias))

    def _integer_product(self, x, kernel):
        """Multiplies by int8 weights; returns float32 of the shape of x, but for the last axis."""
        nodes = self._nodes
        rows, steps, leading = self._quantize_rows(x, kernel)
        values, scales = quantization.per_row(np.ascontiguousarray(kernel.T))
        zero = nodes.constant(np.uint8(_UNSIGNED_ZERO))
        product = nodes.add("MatMulInteger", rows, nodes.constant(values.T), zero)
        # One multiplication by the products of the scales: their matrix costs less than a second pass.
        scale = nodes.add("Mul", steps, nodes.constant(scales))
        product = nodes.add("Mul", nodes.add("Cast", product, to=TensorProto.FLOAT), scale)
        shape = nodes.add("Concat", leading, nodes.integers(len(scales)), axis=0)
        return nodes.add("Reshape", product, shape)

    def _quantize_rows(self, x, kernel):
        """Returns x as uint8[N, D], what a step of each row is worth, float32[N, 1], and the leading axes, int64[…]."""
        nodes = self._nodes
        flat = nodes.add("Reshape", x, nodes.integers(-1, len(kernel)))
        least = nodes.add("ReduceMin", flat, axes=[1], keepdims=0)
        largest = nodes.add("Max", nodes.add("ReduceMax", flat, axes=[1], keepdims=0), nodes.add("Neg", least))
        largest = nodes.add("Max", largest, nodes.number(_LEAST_RANGE))
        steps = nodes.add("Mul", largest, nodes.number(1 / quantization.LARGEST))  # (N,)
        zeros = nodes.add("Expand", nodes.constant(np.uint8(_UNSIGNED_ZERO)), nodes.add("Shape", steps))
        rows = nodes.add("QuantizeLinear", flat, steps, zeros, axis=0)
        leading = nodes.add("Slice", nodes.add("Shape", x), nodes.integers(0), nodes.integers(-1))
        return rows, nodes.add("Unsqueeze", steps, nodes.integers(1)), leading

    def _gelu(self, x):
        """The exact GELU in the form that ONNX Runtime fuses into one kernel."""
        nodes = self._nodes
        erf = nodes.add("Erf", nodes.add("Div", x, nodes.number(2**0.5)))
        return nodes.add("Mul", nodes.add("Mul", x, nodes.add("Add", erf, nodes.number(1))), nodes.number(0.5))

    def _layer_norm(self, x, gamma, beta):
        gamma, beta = self._nodes.constant(_array(gamma)), self._nodes.constant(_array(beta))
        return self._nodes.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=float(encoder.LAYER_NORM_EPSILON))


def _array(weight) -> np.ndarray:
    return np.asarray(weight, np.float32)
