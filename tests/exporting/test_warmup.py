"""The warm-up file, read with TF Serving's own messages."""

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops of the graph
from tensorflow_serving.apis import prediction_log_pb2

from sentiment_tf.exporting import warmup


def requests(version):
    """(signature, {input: tensor}) of each request in the file."""
    for record in tf.data.TFRecordDataset(str(version / warmup.FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def test_requests_name_the_signature_and_hold_texts_of_several_lengths(version):
    found = list(requests(version))
    assert {signature for signature, _ in found} == {"serving_default"}
    assert [set(inputs) for _, inputs in found] == [{"text"}] * len(found)
    texts = [inputs["text"] for _, inputs in found]
    assert [len(batch) for batch in texts] == [1, 1, 1, 33]
    assert [len(batch[0].split()) for batch in texts] == [4, 16, 24, 1]


def test_requests_can_be_answered(version):
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    for _, inputs in requests(version):
        answer = serve(**{name: tf.constant(value) for name, value in inputs.items()})
        assert answer["label"].shape == inputs["text"].shape


def test_a_request_is_in_the_messages_wire_format(tmp_path):
    """Field numbers of prediction_log.proto, predict.proto and model.proto; tensor.proto: dtype, shape, string_val."""
    warmup.write(tmp_path, [["good"]])
    (record,) = tf.data.TFRecordDataset(str(tmp_path / warmup.FILE)).as_numpy_iterator()
    tensor = b"\x08\x07" + b"\x12\x04\x12\x02\x08\x01" + b"\x42\x04good"
    entry = b"\x0a\x04text" + b"\x12" + bytes([len(tensor)]) + tensor
    spec = b"\x1a\x0fserving_default"
    request = b"\x0a" + bytes([len(spec)]) + spec + b"\x12" + bytes([len(entry)]) + entry
    predict_log = b"\x0a" + bytes([len(request)]) + request
    assert record == b"\x32" + bytes([len(predict_log)]) + predict_log
