"""Builds a TensorFlow Lite file operation by operation.

TensorFlow's own converter freezes, optimises and rewrites the whole graph with its weights in it: eight seconds
per file for a MiniLM, where writing the operations down takes a third of one. What the file must look like is
TensorFlow Lite's schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

import os
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

# Which table of the schema holds an operation's options; operations that are not listed have none.
_OPTIONS = {
    "ADD": "AddOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "RESHAPE": "ReshapeOptions",
    "SHAPE": "ShapeOptions",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "TRANSPOSE": "TransposeOptions",
}
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}
_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of weights; interpreters map the file and read them in place
_LARGEST_CODE_OF_OLD_FILES = 127  # where a reader of old files finds that it must look at the newer field


class Graph:
    """Tensors and the operations between them; a tensor is known by its number.

    In a shape, -1 is a dimension that each call chooses.
    """

    def __init__(self):
        self._tensors, self._operators, self._codes = [], [], {}
        self._buffers = [_Buffer(None)]  # the first one is empty, by the schema
        self._small = {}

    def input(self, name: str, shape: Sequence[int], dtype: npt.DTypeLike) -> int:
        """Adds a tensor that the caller fills."""
        return self._tensor(shape, dtype, name=name)

    def constant(self, values: np.ndarray, *, scales: np.ndarray | None = None) -> int:
        """Adds a tensor that the file holds.

        Args:
          values: float32, int32 or int8.
          scales: float32[rows]; what a step of an int8 row stands for.
        """
        key = (values.dtype.str, values.shape, values.tobytes()) if values.size <= 16 else None  # axes and shapes
        if key in self._small:
            return self._small[key]
        self._buffers.append(_Buffer(values))
        tensor = self._tensor(values.shape, values.dtype, buffer=len(self._buffers) - 1, scales=scales)
        if key:
            self._small[key] = tensor
        return tensor

    def integers(self, *values: int) -> int:
        """Adds a constant int32[n]."""
        return self.constant(np.array(values, np.int32))

    def add(
        self,
        operation: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        dtype: npt.DTypeLike = np.float32,
        version: int = 1,
        outputs: int = 1,
        **options,
    ) -> list[int]:
        """Adds an operation.

        Args:
          operation: name in the schema's BuiltinOperator.
          inputs: tensors.
          shape: the shape of each output.
          dtype: the dtype of each output.
          version: the oldest of the operation's versions that reads these types.
          outputs: how many there are.
          **options: fields of the operation's table.

        Returns:
          Its output tensors.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((operation, version), len(self._codes))
        operator.inputs = np.array(inputs, np.int32)
        made = [self._tensor(shape, dtype) for _ in range(outputs)]
        operator.outputs = np.array(made, np.int32)
        if operation in _OPTIONS:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[operation])
            operator.builtinOptions = getattr(schema, f"{_OPTIONS[operation]}T")(**options)
        self._operators.append(operator)
        return made

    def write(
        self,
        path: str | os.PathLike,
        *,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        signature: str = "serving_default",
    ) -> None:
        """Writes the file.

        Args:
          path: where to.
          inputs, outputs: tensors by the names under which a caller finds them.
          signature: name of the one signature.
        """
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "sentiment_tf"
        model.operatorCodes = [_operator_code(*code) for code in self._codes]
        model.subgraphs = [self._subgraph(list(inputs.values()), list(outputs.values()))]
        model.signatureDefs = [_signature(signature, inputs, outputs)]
        model.buffers = self._buffers
        # A builder that must grow copies all it has: it gets room for everything at once.
        builder = flatbuffers.Builder(sum(buffer.room for buffer in self._buffers) + (1 << 20))
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        with open(path, "wb") as file:
            file.write(memoryview(builder.Bytes)[builder.head :])

    def _tensor(self, shape, dtype, *, name=None, buffer=0, scales=None) -> int:
        tensor = schema.TensorT()
        tensor.name = name or f"tensor_{len(self._tensors)}"
        tensor.type, tensor.buffer, tensor.hasRank = _TYPES[np.dtype(dtype)], buffer, True
        tensor.shape = np.array([max(size, 1) for size in shape], np.int32)
        if min(shape, default=0) < 0:
            tensor.shapeSignature = np.array(shape, np.int32)
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _subgraph(self, inputs, outputs):
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        return graph


class _Buffer(schema.BufferT):
    """Bytes of a tensor, written at once and aligned, which the schema's own Python classes do not see to."""

    @property
    def room(self) -> int:
        return 0 if self.data is None else self.data.nbytes + 2 * _ALIGNMENT

    def Pack(self, builder):
        """Appends itself to a file and returns its place."""
        place = None if self.data is None else self._pack_bytes(builder)
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)

    def _pack_bytes(self, builder):
        data = np.ascontiguousarray(self.data).reshape(-1).view(np.uint8)
        builder.StartVector(1, data.size, _ALIGNMENT)
        builder.head -= data.size
        builder.Bytes[builder.head : builder.head + data.size] = data.data
        builder.vectorNumElems = data.size
        return builder.EndVector()


def _operator_code(operation: str, version: int):
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = getattr(schema.BuiltinOperator, operation), version
    code.deprecatedBuiltinCode = min(code.builtinCode, _LARGEST_CODE_OF_OLD_FILES)
    return code


def _signature(name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]):
    signature = schema.SignatureDefT()
    signature.signatureKey = name
    signature.inputs, signature.outputs = _tensor_maps(inputs), _tensor_maps(outputs)
    return signature


def _tensor_maps(tensors: Mapping[str, int]) -> list:
    maps = []
    for name, tensor in tensors.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        maps.append(entry)
    return maps
