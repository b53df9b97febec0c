"""Names of the files that an export consists of; those who write and those who read agree on them here.

Imports nothing: an engine that runs without TensorFlow reads it, too.
"""

LITERT_FOLDER = "litert"  # in a run's folder
LITERT_FILES = {"float32": "model.tflite", "int8": "model_int8.tflite"}  # by precision
LITERT_CONFIG = "config.json"
TOKENIZER = "tokenizer.json"

ONNX_FOLDER = "onnx"  # in the folder for transformers, where transformers.js looks
ONNX_FILES = {"float32": "model.onnx", "int8": "model_quantized.onnx"}
