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


class Encoder(torch.nn.Module):
    """The encoder's [CLS] vectors."""

    def __init__(self, distilbert):
        super().__init__()
        self.distilbert = distilbert

    def forward(self, input_ids, attention_mask):
        """Returns float32[batch, D]."""
        return self.distilbert(input_ids, attention_mask).last_hidden_state[:, 0]


def export(model, path: Path, output: str) -> None:
    """Writes a model for batches and lengths of any size."""
    example = torch.ones([2, 16], dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
    torch.onnx.export(
        model,
        (example, example),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=[output],
        dynamic_axes=axes | {output: {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    arguments = common.parse(__doc__)
    folder = path_of(arguments).parent
    if not (folder / "model_int8.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        model = torch_common.load(arguments).model.float()
        export(model, folder / "model.onnx", "logits")
        export(Encoder(model.distilbert), folder / "encoder.onnx", "cls")
        quantize_dynamic(folder / "model.onnx", folder / "model_int8.onnx", weight_type=QuantType.QInt8)
