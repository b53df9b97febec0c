"""Names of a DistilBERT's weights: transformers' TensorFlow layers ↔ the files that every framework reads."""

from collections.abc import Iterator, Mapping

import numpy as np

from sentiment_tf.modeling import encoder


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


def fused_weights(named: Mapping[str, np.ndarray], *, heads: int) -> encoder.Weights:
    """Returns weights in PyTorch's names and layout as the tree that `encoder.logits` takes, float32 arrays."""

    def dense(name: str) -> tuple[np.ndarray, np.ndarray]:
        return named[f"{name}.weight"].T, named[f"{name}.bias"]

    def norm(name: str) -> tuple[np.ndarray, np.ndarray]:
        return named[f"{name}.weight"], named[f"{name}.bias"]

    def block(prefix: str) -> encoder.Block:
        (q, q_bias), (k, k_bias), (v, v_bias) = (dense(f"{prefix}attention.{name}_lin") for name in "qkv")
        scale = np.float32((len(q) / heads) ** -0.5)
        return encoder.Block(
            np.concatenate([q * scale, k, v], axis=1),
            np.concatenate([q_bias * scale, k_bias, v_bias]),
            *dense(f"{prefix}attention.out_lin"),
            *norm(f"{prefix}sa_layer_norm"),
            *dense(f"{prefix}ffn.lin1"),
            *dense(f"{prefix}ffn.lin2"),
            *norm(f"{prefix}output_layer_norm"),
        )

    embeddings = "distilbert.embeddings."
    layers = {name.split(".")[3] for name in named if name.startswith("distilbert.transformer.layer.")}
    return encoder.Weights(
        encoder.Embeddings(
            named[f"{embeddings}word_embeddings.weight"],
            named[f"{embeddings}position_embeddings.weight"],
            *norm(f"{embeddings}LayerNorm"),
        ),
        tuple(block(f"distilbert.transformer.layer.{number}.") for number in range(len(layers))),
        encoder.Head(*dense("pre_classifier"), *dense("classifier")),
    )


def network_settings(model) -> dict:
    """Returns a model's settings as config.json spells them, without the names of its classes."""
    kept = (
        "activation attention_dropout dim dropout hidden_dim initializer_range max_position_embeddings model_type "
        "n_heads n_layers pad_token_id qa_dropout seq_classif_dropout sinusoidal_pos_embds vocab_size"
    )
    return {name: getattr(model.config, name) for name in kept.split()}


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
