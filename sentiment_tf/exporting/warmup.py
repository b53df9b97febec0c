"""Warm-up requests: TF Serving answers them while it loads a model, so that the first user does not wait.

The file is a TFRecord of PredictionLog messages. Only TF Serving's own package defines those, so they are written
field by field here: every field on the way to the tensor is length-delimited (field numbers from
tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto;
https://protobuf.dev/programming-guides/encoding/).
"""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"  # where TF Serving looks, below the version folder

_PREDICTION_LOG__PREDICT_LOG = 6
_PREDICT_LOG__REQUEST = 1
_PREDICT_REQUEST__MODEL_SPEC = 1
_PREDICT_REQUEST__INPUTS = 2  # a map: repeated entries of key = 1, value = 2
_MODEL_SPEC__SIGNATURE_NAME = 3


def write(directory: Path, batches: Sequence[Sequence[str]]) -> None:
    """Writes one request for `serving_default(text)` per batch of texts.

    Args:
      directory: the SavedModel's version folder.
      batches: the texts of each request.
    """
    path = directory / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for texts in batches:
            writer.write(prediction_log("serving_default", {"text": tf.constant(texts)}))


def prediction_log(signature: str, inputs: dict[str, tf.Tensor]) -> bytes:
    """Encodes a PredictionLog that holds one PredictRequest."""
    request = _field(_PREDICT_REQUEST__MODEL_SPEC, _field(_MODEL_SPEC__SIGNATURE_NAME, signature.encode()))
    for name, tensor in inputs.items():
        entry = _field(1, name.encode()) + _field(2, tf.make_tensor_proto(tensor).SerializeToString())
        request += _field(_PREDICT_REQUEST__INPUTS, entry)
    return _field(_PREDICTION_LOG__PREDICT_LOG, _field(_PREDICT_LOG__REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a length-delimited field: tag, length, content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a set top bit says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
