import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from sentiment_tf.exporting import litert
from sentiment_tf.modeling import litert_network
from tests.support import networks, tiny_export

HEADS = 4


def answer(path, input_ids, **settings):
    interpreter = Interpreter(str(path), num_threads=1, **settings)
    return interpreter.get_signature_runner("serving_default")(input_ids=input_ids)["logits"]


def write(path, weights, *, quantize=False, **settings):
    divisors = litert_network.find_divisors(weights, heads=HEADS, activation="gelu") if quantize else None
    litert_network.write_classifier(path, weights=weights, heads=HEADS, divisors=divisors, **settings)
    return path


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize(("blocks", "classes"), [(0, 2), (1, 2), (2, 5), (3, 3)])
def test_float32_equals_the_encoder(tmp_path, activation, blocks, classes):
    weights = networks.weights(blocks=blocks, classes=classes)
    path = write(tmp_path / "model.tflite", weights, activation=activation)
    input_ids = networks.ids(5, 11)
    want = networks.expected(weights, input_ids, heads=HEADS, activation=activation)
    np.testing.assert_allclose(answer(path, input_ids), want, atol=1e-4)
    assert np.ptp(want) > 0.1  # else the comparison would say nothing


def test_every_length_up_to_the_last_position_in_one_interpreter(tmp_path):
    weights = networks.weights()
    runner = Interpreter(str(write(tmp_path / "model.tflite", weights))).get_signature_runner("serving_default")
    for length in [2, networks.POSITIONS, *range(1, networks.POSITIONS)]:
        input_ids = networks.ids(1, length, seed=length)
        want = networks.expected(weights, input_ids, heads=HEADS)
        np.testing.assert_allclose(runner(input_ids=input_ids)["logits"], want, atol=1e-4)


@pytest.mark.parametrize("quantize", [False, True])
def test_the_reference_kernels_agree_with_the_fast_ones(tmp_path, quantize):
    path = write(tmp_path / "model.tflite", networks.weights(), quantize=quantize)
    plain = answer(
        path, networks.ids(3, 9), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    np.testing.assert_allclose(answer(path, networks.ids(3, 9)), plain, atol=0.1 if quantize else 1e-4)


def test_int8_is_near_the_encoder_and_a_quarter_of_the_size(tmp_path):
    weights = networks.weights(width=64, hidden=256)
    exact, small = (write(tmp_path / f"{quantize}", weights, quantize=quantize) for quantize in (False, True))
    input_ids = networks.ids(40, 9)
    want = networks.expected(weights, input_ids, heads=HEADS)
    difference = np.abs(answer(small, input_ids) - want)
    assert 0 < difference.mean() < 0.1 * np.std(want)
    assert small.stat().st_size < 0.5 * exact.stat().st_size  # the last block's keys and values stay float32


def test_int8_is_near_the_encoder_where_one_channel_is_much_larger_than_the_others(tmp_path):
    weights = networks.weights(width=64, hidden=256)
    gamma = np.ones(64, np.float32)
    gamma[5] = 50
    blocks = tuple(
        block._replace(attention_gamma=np.asarray(block.attention_gamma) * gamma) for block in weights.blocks
    )
    weights, input_ids = weights._replace(blocks=blocks), networks.ids(40, 9)
    want = networks.expected(weights, input_ids, heads=HEADS)
    difference = np.abs(answer(write(tmp_path / "model.tflite", weights, quantize=True), input_ids) - want)
    assert difference.mean() < 0.1 * np.std(want)


def test_int8_answers_do_not_depend_on_neighbours(tmp_path):
    path = write(tmp_path / "model.tflite", networks.weights(), quantize=True)
    input_ids = networks.ids(6, 9)
    together = answer(path, input_ids)
    alone = np.concatenate([answer(path, row[None]) for row in input_ids])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("quantize", [False, True])
def test_file(tmp_path, quantize):
    """Built-in operations alone, one signature, weights aligned as interpreters want them."""
    data = write(tmp_path / "model.tflite", networks.weights(), quantize=quantize).read_bytes()
    assert data[4:8] == b"TFL3"
    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    codes = {code.builtinCode for code in model.operatorCodes}
    assert schema.BuiltinOperator.FULLY_CONNECTED in codes
    assert schema.BuiltinOperator.CUSTOM not in codes
    assert all(code.customCode is None for code in model.operatorCodes)
    assert [signature.signatureKey for signature in model.signatureDefs] == [b"serving_default"]
    assert (schema.BuiltinOperator.EMBEDDING_LOOKUP in codes) == quantize
    root = schema.Model.GetRootAs(data)
    starts = [root.Buffers(number)._tab.Offset(4) for number in range(root.BuffersLength())]
    places = [root.Buffers(number)._tab.Vector(start) for number, start in enumerate(starts) if start]
    assert len(places) > 20
    assert all(place % 16 == 0 for place in places)


def test_folder(tmp_path):
    bundle = tiny_export.bundle(label_names=("schlecht", "mittel", "größer"))
    litert.write(bundle, tmp_path / "litert")
    assert {file.name for file in (tmp_path / "litert").iterdir()} == {
        "config.json",
        "model.tflite",
        "model_int8.tflite",
        "tokenizer.json",
    }
    config = json.loads((tmp_path / "litert" / "config.json").read_text(encoding="utf-8"))
    assert config == {"label_names": ["schlecht", "mittel", "größer"], "max_length": tiny_export.MAX_LENGTH}
    with pytest.raises(FileExistsError):
        litert.write(bundle, tmp_path / "litert")
