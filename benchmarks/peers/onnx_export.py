"""Exports the PyTorch model to ONNX, and quantises it by ONNX Runtime's usual recipe (`quantize_dynamic`)."""

from pathlib import Path

import common
import torch
import torch_common
from onnxruntime.quantization import QuantType, quantize_dynamic


def path_of(arguments) -> Path:
    """Returns the file of the precision that was asked for; OpenVINO reads the float32 one in every precision."""
    name = "model_int8.onnx" if arguments.precision == "int8" else "model.onnx"
    return Path(arguments.scratch) / Path(arguments.model).name / "onnx" / name


if __name__ == "__main__":
    arguments = common.parse(__doc__)
    folder = path_of(arguments).parent
    if not (folder / "model_int8.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        model = torch_common.load(arguments).model.float()
        example = torch.ones([2, 16], dtype=torch.int64)
        axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
        torch.onnx.export(
            model,
            (example, example),
            str(folder / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes=axes | {"logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        quantize_dynamic(folder / "model.onnx", folder / "model_int8.onnx", weight_type=QuantType.QInt8)
