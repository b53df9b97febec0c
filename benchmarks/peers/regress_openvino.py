"""Peer: as `regress_torch`, but the encoder runs in OpenVINO, the fastest one in bfloat16 that pip installs."""

import common
import numpy as np
import onnx_common
import onnx_export
import openvino
from openvino_predict import TYPES
from sklearn.linear_model import LogisticRegression


def load(arguments):
    """Compiles the ONNX file of the encoder with the hint that is fastest here."""
    settings = {"INFERENCE_PRECISION_HINT": TYPES[arguments.precision], "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(onnx_export.path_of(arguments).parent / "encoder.onnx"), "CPU", settings)
    return {"model": model, "tokenizer": onnx_common.tokenizer_of(arguments), "head": None}


def encode(state, texts: list[str]) -> np.ndarray:
    """Returns the [CLS] vectors, float32[texts, D]."""

    def infer(ids, mask):
        return state["model"]({"input_ids": ids, "attention_mask": mask})["cls"]

    return onnx_common.in_batches(state["tokenizer"], infer, texts)


def train(state, arguments, texts, labels, steps) -> None:
    """Raw texts to a fitted head."""
    state["head"] = LogisticRegression(max_iter=1000).fit(encode(state, texts), labels)


def classify(state, texts):
    """Returns a class number for each text."""
    return state["head"].predict(encode(state, texts))


if __name__ == "__main__":
    common.measure_training(__doc__, load=load, train=train, classify=classify)
