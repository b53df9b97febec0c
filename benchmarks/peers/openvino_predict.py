"""Raw text to label by OpenVINO: float32 or bfloat16."""

import common
import onnx_common
import onnx_export
import openvino

TYPES = {"float32": "f32", "bfloat16": "bf16"}


def load(arguments):
    """Compiles the ONNX file with the hint that is fastest here."""
    settings = {"INFERENCE_PRECISION_HINT": TYPES[arguments.precision], "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(onnx_export.path_of(arguments)), "CPU", settings)

    def infer(ids, mask):
        return model({"input_ids": ids, "attention_mask": mask})["logits"]

    return onnx_common.tokenizer_of(arguments), infer


if __name__ == "__main__":
    common.measure_pass(
        __doc__,
        load=load,
        prepare=lambda loaded, texts: texts,
        run=lambda loaded, texts: onnx_common.classify(*loaded, texts),
    )
