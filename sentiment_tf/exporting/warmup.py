"""Warm-up requests: TF Serving answers them while it loads a model, so that the first user does not wait."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

FILE = "assets.extra/tf_serving_warmup_requests"  # where TF Serving looks, below the version folder


def write(directory: Path, batches: Sequence[Sequence[str]]) -> None:
    """Writes one request for `serving_default(text)` per batch of texts, a TFRecord of PredictionLog messages.

    Args:
      directory: The SavedModel's version folder.
      batches: The texts of each request.
    """
    path = directory / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for texts in batches:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "serving_default"
            request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts, tf.string))
            writer.write(log.SerializeToString())
