import numpy as np
import onnx
import pytest

from sentiment_tf.exporting import onnx as export
from sentiment_tf.modeling import litert_network
from tests.support import networks, tiny_export

onnxruntime = pytest.importorskip("onnxruntime")

HEADS = 4


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answer(runner, input_ids, mask=None):
    mask = np.ones_like(input_ids) if mask is None else mask
    feed = {"input_ids": input_ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    return runner.run(["logits"], feed)[0]


def write(path, weights, *, quantize=False, **settings):
    divisors = litert_network.find_divisors(weights, heads=HEADS, activation="gelu") if quantize else None
    export.write_model(path, weights=weights, heads=HEADS, divisors=divisors, **settings)
    return path


def padded():
    """A batch of texts of 11, 2, 7 and 1 tokens."""
    mask = (np.arange(11) < np.array([11, 2, 7, 1])[:, None]).astype(np.int32)
    return networks.ids(4, 11) * mask, mask


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize(("blocks", "classes"), [(0, 2), (1, 2), (2, 5), (3, 3)])
def test_float32_equals_the_encoder(tmp_path, activation, blocks, classes):
    weights = networks.weights(blocks=blocks, classes=classes)
    input_ids, mask = padded()
    want = networks.expected(weights, input_ids, mask, heads=HEADS, activation=activation)
    runner = session(write(tmp_path / "model.onnx", weights, activation=activation))
    np.testing.assert_allclose(answer(runner, input_ids, mask), want, atol=1e-4)
    assert np.ptp(want) > 0.1


def test_every_length_up_to_the_last_position(tmp_path):
    weights = networks.weights()
    runner = session(write(tmp_path / "model.onnx", weights))
    for length in range(1, networks.POSITIONS + 1):
        input_ids = networks.ids(2, length, seed=length)
        want = networks.expected(weights, input_ids, heads=HEADS)
        np.testing.assert_allclose(answer(runner, input_ids), want, atol=1e-4)


def test_int8_is_near_the_encoder(tmp_path):
    weights = networks.weights(width=64, hidden=256)
    input_ids = networks.ids(40, 9)
    want = networks.expected(weights, input_ids, heads=HEADS)
    got = answer(session(write(tmp_path / "model.onnx", weights, quantize=True)), input_ids)
    assert 0 < np.abs(got - want).mean() < 0.1 * np.std(want)


def test_int8_answers_do_not_depend_on_neighbours_or_padding(tmp_path):
    runner = session(write(tmp_path / "model.onnx", networks.weights(), quantize=True))
    input_ids, mask = padded()
    alone = [answer(runner, row[None, :length]) for row, length in zip(input_ids, mask.sum(axis=1), strict=True)]
    together, alone = answer(runner, input_ids, mask), np.concatenate(alone)
    # A wider batch adds up in another order, which may move an activation to the next step of its int8.
    np.testing.assert_allclose(together, alone, atol=0.01)
    assert np.ptp(alone) > 1


def test_int8_of_activations_that_are_all_zero(tmp_path):
    weights = networks.weights(blocks=1)
    block = weights.blocks[0]
    silent = block._replace(lin1_kernel=block.lin1_kernel * 0, lin1_bias=block.lin1_bias * 0)
    weights = weights._replace(blocks=(silent,))
    input_ids = networks.ids(3, 5)
    got = answer(session(write(tmp_path / "model.onnx", weights, quantize=True)), input_ids)
    np.testing.assert_allclose(got, networks.expected(weights, input_ids, heads=HEADS), atol=0.1)


@pytest.mark.parametrize("quantize", [False, True])
def test_file(tmp_path, quantize):
    """Valid, standard operators alone, the names and axes that transformers.js and optimum expect."""
    model = onnx.load(write(tmp_path / "model.onnx", networks.weights(), quantize=quantize))
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "sequence_length"],
        "logits": ["batch_size", 3],
    }
    assert ("MatMulInteger" in {node.op_type for node in model.graph.node}) == quantize


def test_folder(tmp_path):
    export.write(tiny_export.bundle(), tmp_path / "onnx")
    assert {file.name for file in (tmp_path / "onnx").iterdir()} == {"model.onnx", "model_quantized.onnx"}
    with pytest.raises(FileExistsError):
        export.write(tiny_export.bundle(), tmp_path / "onnx")
