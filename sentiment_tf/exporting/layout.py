"""Names of the files that an export consists of; those who write and those who read agree on them here.

Imports nothing: an engine that runs without TensorFlow reads it, too.
"""

LITERT_FOLDER = "litert"  # in a run's folder
LITERT_FILES = {"float32": "model.tflite", "int8": "model_int8.tflite"}  # by precision
LITERT_CONFIG = "config.json"
TOKENIZER = "tokenizer.json"

HF_FOLDER = "hf"
HF_CONFIG = "config.json"
HF_WEIGHTS = "model.safetensors"

ONNX_FOLDER = "hf/onnx"  # where transformers.js looks, under the names that it looks for
ONNX_FILES = {"float32": "model.onnx", "int8": "model_quantized.onnx"}
