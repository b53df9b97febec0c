"""Writes a trained classifier for LiteRT (TensorFlow Lite): phones, browsers, and `inference.engines.litert`."""

import json
import os
from pathlib import Path

from sentiment_tf.exporting import layout
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.modeling import litert_network


def write(bundle: Bundle, directory: str | os.PathLike) -> None:
    """Writes `model.tflite` (float32), `model_int8.tflite` and what an engine needs beside them.

    Both files have one signature, `serving_default(input_ids: int32[batch, length])` → `logits`
    float32[batch, classes], for rows without padding: texts of equal length, or one text.

    Args:
      bundle: the trained model.
      directory: such as `<run>/litert`; must not exist.

    Raises:
      FileExistsError: the folder is there already.
    """
    directory = Path(directory)
    directory.mkdir(parents=True)
    for precision, name in layout.LITERT_FILES.items():
        litert_network.write_classifier(
            directory / name,
            weights=bundle.weights,
            heads=bundle.heads,
            activation=bundle.activation,
            divisors=bundle.divisors if precision == "int8" else None,
        )
    config = {"label_names": list(bundle.label_names), "max_length": bundle.max_length, **bundle.decision}
    for name, content in ((layout.TOKENIZER, bundle.tokenizer), (layout.LITERT_CONFIG, config)):
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
        (directory / name).write_text(text, encoding="utf-8")
