"""The warm-up file, decoded with protobuf's own parser from the messages' definitions."""

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the graph
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from sentiment_tf.exporting import warmup

# What the way to the tensor needs of prediction_log.proto, predict.proto and model.proto.
MESSAGES = {
    "ModelSpec": [("name", 1, "string"), ("signature_name", 3, "string")],
    "InputsEntry": [("key", 1, "string"), ("value", 2, "bytes")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "InputsEntry*")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}


@pytest.fixture(scope="module")
def prediction_log_type():
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field_type.TYPE_STRING, "bytes": field_type.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3")
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            label = field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if kind in scalars:
                field.type = scalars[kind]
            else:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".serving.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def requests(version, prediction_log_type):
    """(signature, {input: tensor}) of each request in the file."""
    for record in tf.data.TFRecordDataset(str(version / warmup.FILE)):
        log = prediction_log_type.FromString(record.numpy())
        assert not log.FindInitializationErrors()
        request = log.predict_log.request
        inputs = {entry.key: tensor_pb2.TensorProto.FromString(entry.value) for entry in request.inputs}
        yield request.model_spec.signature_name, {name: tf.make_ndarray(tensor) for name, tensor in inputs.items()}


def test_requests_name_the_signature_and_hold_texts_of_several_lengths(version, prediction_log_type):
    found = list(requests(version, prediction_log_type))
    assert {signature for signature, _ in found} == {"serving_default"}
    assert [set(inputs) for _, inputs in found] == [{"text"}] * len(found)
    texts = [inputs["text"] for _, inputs in found]
    assert [len(batch) for batch in texts] == [1, 1, 1, 33]
    assert [len(batch[0].split()) for batch in texts] == [4, 16, 24, 1]


def test_requests_can_be_answered(version, prediction_log_type):
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    for _, inputs in requests(version, prediction_log_type):
        answer = serve(**{name: tf.constant(value) for name, value in inputs.items()})
        assert answer["label"].shape == inputs["text"].shape


def test_long_contents_have_lengths_of_several_bytes(prediction_log_type):
    text = "x" * 70_000
    log = prediction_log_type.FromString(warmup.prediction_log("tokens", {"text": tf.constant([text])}))
    (entry,) = log.predict_log.request.inputs
    assert tensor_pb2.TensorProto.FromString(entry.value).string_val == [text.encode()]
