"""DistilBERT as transformers has it: its layers and the names of its weights.

Only this module and `distilbert_settings` know them; everything else works on `encoder.Weights` and on token ids.
Another encoder of BERT's family is such a pair beside these, with the same functions.

Architecture: Sanh et al., "DistilBERT, a distilled version of BERT" (arXiv:1910.01108).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from sentiment_tf.data import batching
from sentiment_tf.data.registry import Depth
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.modeling import distilbert_settings, encoder, h5_weights, model_files
from sentiment_tf.system.runtime import quiet_stderr

REFERENCE_BATCH = 32

# PyTorch's names of a block's parts, in the order of `encoder.pack_block`'s arguments.
BLOCK_NAMES = (
    *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm"),
    *("ffn.lin1", "ffn.lin2", "output_layer_norm"),
)


def load_classifier(directory: str, *, label_names: tuple[str, ...], name: str, seed: int):
    """Loads a pretrained DistilBERT with a classification head.

    A head that the checkpoint does not have, or has for another number of classes, is initialised randomly.

    Args:
      directory: The model folder.
      label_names: One name per class.
      name: The model as the user gave it, for errors.
      seed: Random seed of the head's initial weights.

    Returns:
      transformers.TFDistilBertForSequenceClassification, built.

    Raises:
      UserError: The folder holds no DistilBERT, no weights that are safe to read, or damaged ones.
    """
    settings = distilbert_settings.read(directory, name)
    with quiet_stderr():
        import transformers  # here, for exports are written, and answer, without it
    transformers.logging.set_verbosity_error()
    config = transformers.DistilBertConfig(
        **dataclasses.asdict(settings),
        id2label=dict(enumerate(label_names)),
        label2id={label: number for number, label in enumerate(label_names)},
    )
    tf.keras.utils.set_random_seed(seed)
    weights = model_files.weights_file(directory, name)
    try:
        if weights.name == model_files.H5_WEIGHTS:
            h5_weights.check(weights, name)
        model, found = transformers.TFDistilBertForSequenceClassification.from_pretrained(
            directory,
            config=config,
            use_safetensors=weights.name == model_files.SAFETENSORS,
            ignore_mismatched_sizes=True,  # a checkpoint's own head may have another number of classes
            local_files_only=True,
            output_loading_info=True,
        )
    except UserError:
        raise
    except tf.errors.OpError:  # with several workers, the chief sends the values; another worker is gone
        raise
    except Exception as error:  # every reader below raises its own kind for a damaged file
        raise UserError(
            f"--model={name}: the weights cannot be read ({first_line(error)}); delete the copy and fetch it again"
        ) from error
    _check_weights(model, found, name)
    return model


def _check_weights(model, found: dict, name: str) -> None:
    """Raises UserError if weights other than the head's are missing, have another shape, or are not finite."""
    missing = [*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]
    # h5 files list dropout layers as missing, too.
    if missing := [key for key in missing if "classifier" not in key and not key.startswith("dropout")]:
        raise UserError(
            f"--model={name}: its weights do not fit its config.json: {len(missing)} are missing or have another "
            f"shape, such as {missing[0]}; pass the folder of a whole DistilBERT"
        )
    for variable in model.weights:
        if not np.isfinite(variable.numpy()).all():
            raise UserError(
                f"--model={name}: its weight {variable.name} holds numbers that are not finite; "
                "pass a model whose training did not diverge, or delete the copy and fetch it again"
            )


def reference_logits(model, tokens: Tokens) -> np.ndarray:
    """Returns float32[rows, classes], the model's logits through transformers' own layers, without dropout."""
    longest, order = int(tokens.lengths.max()), np.argsort(tokens.lengths)
    logits = np.empty((len(order), model.config.num_labels), np.float32)
    for start in range(0, len(order), REFERENCE_BATCH):
        rows = order[start : start + REFERENCE_BATCH]
        ids, mask = batching.pad(tokens.ids.astype(np.int32), tokens.offsets, rows, most=longest)
        logits[rows] = model(ids, attention_mask=mask, training=False).logits.numpy()
    return logits


def read_weights(model, *, blocks: slice = slice(None), embeddings: bool = True):
    """Returns a model's weights in the form that `encoder` computes with.

    Inside a ``tf.function`` under a gradient tape, gradients flow to the model's variables.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      blocks: The transformer blocks to read.
      embeddings: Whether to read the embeddings; they are None otherwise.

    Returns:
      encoder.Weights.
    """
    tables, layers = model.distilbert.embeddings, model.distilbert.transformer.layer[blocks]
    return encoder.Weights(
        encoder.pack_embeddings(tables.weight, tables.position_embeddings, _norm(tables.LayerNorm))
        if embeddings
        else None,
        tuple(encoder.pack_block(*_block(layer), heads=model.config.n_heads) for layer in layers),
        encoder.pack_head(_dense(model.pre_classifier), _dense(model.classifier)),
    )


def _block(layer) -> tuple:
    """Returns the weights of a transformers TFTransformerBlock in the order of `encoder.pack_block`'s arguments."""
    attention, ffn = layer.attention, layer.ffn
    return (
        *map(_dense, (attention.q_lin, attention.k_lin, attention.v_lin, attention.out_lin)),
        _norm(layer.sa_layer_norm),
        *map(_dense, (ffn.lin1, ffn.lin2)),
        _norm(layer.output_layer_norm),
    )


def _dense(layer) -> tuple:
    return layer.kernel, layer.bias


def _norm(layer) -> tuple:
    return layer.gamma, layer.beta


def architecture(model) -> dict[str, Any]:
    """Returns what a forward pass needs beside the weights: ``heads`` and ``activation``, as `encoder.logits` says."""
    return {"heads": model.config.n_heads, "activation": model.config.activation}


def dropout_rates(model) -> tuple[float, float, float]:
    """Returns the rates of hidden states, attention and head, in the order of `encoder.DropoutRates`."""
    return model.config.dropout, model.config.attention_dropout, model.config.seq_classif_dropout


def frozen_weights(model, depth: int) -> Iterator[np.ndarray]:
    """Yields the arrays of the frozen layers in a fixed order, for a cache key.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      depth: Number of trainable blocks.
    """
    blocks = model.distilbert.transformer.layer
    layers = [model.distilbert.embeddings, *blocks[: len(blocks) - depth]]
    return (variable.numpy() for layer in layers for variable in layer.weights)


def trainable_layers(model, depth: Depth) -> tuple[list, list, list]:
    """Returns the Keras layers that are trained: (blocks, head, embeddings), bottom to top.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      depth: How much of the model is trained.
    """
    blocks = model.distilbert.transformer.layer
    head = [model.pre_classifier, model.classifier]
    if depth == "all":
        return list(blocks), head, [model.distilbert.embeddings]
    return list(blocks[len(blocks) - depth :]), head, []


def set_linear_head(model, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Gives a model's two-layer head weights with which its logits are ``cls @ kernel + bias``, ReLU or not.

    A number z passes through the ReLU in two halves: z = ReLU(z) − ReLU(−z). Every logit is carried so by as many pairs
    of units as there is room for, so that dropout, where training goes on from here, takes away a share of a logit and
    not all of it. With more classes than pairs of units, a unit carries a feature plus a bound that LayerNorm gives:
    |cls| ≤ |gamma| √D + |beta|.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      kernel: float[D, classes].
      bias: float[classes].
    """
    width, classes = kernel.shape
    copies = width // (2 * classes)
    if copies:
        spare = np.zeros([width, width - 2 * copies * classes])
        pre_kernel = np.concatenate([kernel, -kernel] * copies + [spare], axis=1)
        pre_bias = np.concatenate([bias, -bias] * copies + [spare[0]])
        halves = np.concatenate([np.eye(classes), -np.eye(classes)] * copies) / copies
        kernel, bias = np.concatenate([halves, np.zeros([spare.shape[1], classes])]), np.zeros(classes)
    else:
        gamma, beta = (
            np.abs(variable.numpy()) for variable in _norm(model.distilbert.transformer.layer[-1].output_layer_norm)
        )
        pre_kernel, pre_bias = np.eye(width), gamma * np.sqrt(width) + beta
        bias = bias - pre_bias @ kernel
    for layer, weights in ((model.pre_classifier, (pre_kernel, pre_bias)), (model.classifier, (kernel, bias))):
        for variable, value in zip(_dense(layer), weights, strict=True):
            variable.assign(value.astype(np.float32))


def layers_above(variable, blocks: int) -> int:
    """Returns how far a variable is below the head: 0 in the head, 1 in the top block, and so on to the embeddings.

    Args:
      variable: tf.Variable of the model, with a name such as "…/layer_._3/ffn/lin1/kernel:0".
      blocks: Number of transformer blocks in the model.
    """
    if found := re.search(r"layer_\._(\d+)/", variable.name):
        return blocks - int(found[1])
    return blocks + 1 if "embeddings" in variable.name else 0


def decayed(variable) -> bool:
    """Returns whether weight decay applies to a tf.Variable: as in BERT, not to biases and LayerNorm."""
    return not any(part in variable.name for part in ("LayerNorm", "layer_norm", "bias"))


def pytorch_weights(model, *, temperature: float = 1.0) -> dict[str, np.ndarray]:
    """Returns a model's weights under the names and in the layout of PyTorch's DistilBertForSequenceClassification.

    model.safetensors on the hub has this layout, which transformers reads in PyTorch and in TensorFlow, and so do
    other runtimes. PyTorch's Linear holds [outputs, inputs], Keras' Dense the transpose.

    Args:
      model: transformers.TFDistilBertForSequenceClassification, built.
      temperature: Divides the classifier's weights, and with them the logits.

    Returns:
      float32 arrays by name.
    """
    scale = np.float32(temperature)
    return dict(_named_weights(model)) | {
        "classifier.weight": np.ascontiguousarray(model.classifier.kernel.numpy().T) / scale,
        "classifier.bias": model.classifier.bias.numpy() / scale,
    }


def fused_weights(named: Mapping[str, np.ndarray], *, heads: int):
    """Returns `encoder.Weights` of arrays under PyTorch's names and in its layout, as `pytorch_weights` gives them."""

    def layer(name: str) -> tuple[np.ndarray, np.ndarray]:
        return named[f"{name}.weight"].T, named[f"{name}.bias"]  # a LayerNorm's vector is its own transpose

    embeddings = "distilbert.embeddings"
    blocks = {name.split(".")[3] for name in named if name.startswith("distilbert.transformer.layer.")}
    prefixes = [f"distilbert.transformer.layer.{number}" for number in range(len(blocks))]
    return encoder.Weights(
        encoder.pack_embeddings(
            named[f"{embeddings}.word_embeddings.weight"],
            named[f"{embeddings}.position_embeddings.weight"],
            layer(f"{embeddings}.LayerNorm"),
        ),
        tuple(
            encoder.pack_block(*(layer(f"{prefix}.{name}") for name in BLOCK_NAMES), heads=heads) for prefix in prefixes
        ),
        encoder.pack_head(layer("pre_classifier"), layer("classifier")),
    )


def network_settings(model) -> dict[str, Any]:
    """Returns the network's settings as config.json spells them, without the names of its classes."""
    named = {"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"]}
    known = (field.name for field in dataclasses.fields(distilbert_settings.Settings))
    return named | {name: getattr(model.config, name) for name in known}


def _named_weights(model) -> Iterator[tuple[str, np.ndarray]]:
    embeddings = model.distilbert.embeddings
    yield "distilbert.embeddings.word_embeddings.weight", embeddings.weight.numpy()
    yield "distilbert.embeddings.position_embeddings.weight", embeddings.position_embeddings.numpy()
    yield from _named("distilbert.embeddings.LayerNorm", _norm(embeddings.LayerNorm))
    for number, block in enumerate(model.distilbert.transformer.layer):
        for name, arrays in zip(BLOCK_NAMES, _block(block), strict=True):
            yield from _named(f"distilbert.transformer.layer.{number}.{name}", arrays)
    yield from _named("pre_classifier", _dense(model.pre_classifier))
    yield from _named("classifier", _dense(model.classifier))


def _named(name: str, weight_and_bias: tuple) -> Iterator[tuple[str, np.ndarray]]:
    weight, bias = weight_and_bias
    yield f"{name}.weight", np.ascontiguousarray(weight.numpy().T)  # a LayerNorm's vector is its own transpose
    yield f"{name}.bias", bias.numpy()
