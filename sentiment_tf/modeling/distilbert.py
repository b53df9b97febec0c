"""Names of a DistilBERT's weights: transformers' TensorFlow layers ↔ the files that every framework reads."""

from collections.abc import Iterator

import numpy as np


def pytorch_weights(model, *, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """Returns a model's weights under the names and in the layout of PyTorch's DistilBertForSequenceClassification.

    That layout is the one that model.safetensors has on the hub: transformers reads it in PyTorch and in TensorFlow,
    and so do other runtimes. PyTorch's Linear holds [outputs, inputs], Keras' Dense the transpose.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      temperature: divides the classifier's weights, and with them the logits.

    Returns:
      float32 arrays by name.
    """
    scale = np.float32(temperature)
    return dict(_layers(model)) | {
        "classifier.weight": np.ascontiguousarray(model.classifier.kernel.numpy().T) / scale,
        "classifier.bias": model.classifier.bias.numpy() / scale,
    }


def _layers(model) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and array of every weight."""
    embeddings = model.distilbert.embeddings
    yield "distilbert.embeddings.word_embeddings.weight", embeddings.weight.numpy()
    yield "distilbert.embeddings.position_embeddings.weight", embeddings.position_embeddings.numpy()
    yield from _layer_norm("distilbert.embeddings.LayerNorm", embeddings.LayerNorm)
    for number, block in enumerate(model.distilbert.transformer.layer):
        prefix = f"distilbert.transformer.layer.{number}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            yield from _dense(f"{prefix}.attention.{name}", getattr(block.attention, name))
        yield from _layer_norm(f"{prefix}.sa_layer_norm", block.sa_layer_norm)
        yield from _dense(f"{prefix}.ffn.lin1", block.ffn.lin1)
        yield from _dense(f"{prefix}.ffn.lin2", block.ffn.lin2)
        yield from _layer_norm(f"{prefix}.output_layer_norm", block.output_layer_norm)
    yield from _dense("pre_classifier", model.pre_classifier)
    yield from _dense("classifier", model.classifier)


def _dense(name: str, layer) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}.weight", np.ascontiguousarray(layer.kernel.numpy().T)
    yield f"{name}.bias", layer.bias.numpy()


def _layer_norm(name: str, layer) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{name}.weight", layer.gamma.numpy()
    yield f"{name}.bias", layer.beta.numpy()
