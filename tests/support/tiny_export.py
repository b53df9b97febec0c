"""A tiny export with random weights: two blocks, eight wide, a vocabulary of letters."""

import dataclasses
import json
import string

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from sentiment_tf.data import tokenization
from sentiment_tf.exporting import huggingface, saved_model
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.modeling import distilbert
from sentiment_tf.modeling.encoder import Block, Embeddings, Head, Weights

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
VOCABULARY += [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.punctuation]
HEADS, MAX_LENGTH, LABEL_NAMES = 2, 24, ("NEGATIVE", "NEUTRAL", "POSITIVE")
WIDTH, HIDDEN = 8, 16
NETWORK = {"model_type": "distilbert", "n_heads": HEADS, "n_layers": 2, "dim": WIDTH, "hidden_dim": HIDDEN}
NETWORK |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": MAX_LENGTH, "activation": "gelu"}


def weights(*, seed: int = 7) -> Weights:
    """Random float32 weights, and a seed that gives texts answers of every label."""
    generator = np.random.default_rng(seed)

    def kernel(*shape):
        return generator.normal(scale=0.7, size=shape).astype(np.float32)

    def vector(size, centre=0.0):
        return generator.normal(loc=centre, scale=0.1, size=size).astype(np.float32)

    def dense(inputs, outputs):
        return kernel(inputs, outputs), vector(outputs)

    def norm():
        return vector(WIDTH, 1.0), vector(WIDTH)

    def block():
        return Block(
            *dense(WIDTH, 3 * WIDTH),
            *dense(WIDTH, WIDTH),
            *norm(),
            *dense(WIDTH, HIDDEN),
            *dense(HIDDEN, WIDTH),
            *norm(),
        )

    return Weights(
        Embeddings(kernel(len(VOCABULARY), WIDTH), kernel(MAX_LENGTH, WIDTH), *norm()),
        (block(), block()),
        Head(*dense(WIDTH, WIDTH), *dense(WIDTH, len(LABEL_NAMES))),
    )


def two_classes() -> Weights:
    """The same weights with a head for the first two classes."""
    head = weights().head
    return weights()._replace(head=head._replace(kernel=head.kernel[:, :2], bias=head.bias[:2]))


def named_weights(weights: Weights) -> dict[str, np.ndarray]:
    """The same weights under PyTorch's names and in its layout, as a run's folder for transformers holds them."""
    embeddings, head = weights.embeddings, weights.head
    named = {
        "distilbert.embeddings.word_embeddings.weight": embeddings.words,
        "distilbert.embeddings.position_embeddings.weight": embeddings.positions,
        "distilbert.embeddings.LayerNorm.weight": embeddings.gamma,
        "distilbert.embeddings.LayerNorm.bias": embeddings.beta,
        "pre_classifier.weight": head.pre_kernel.T,
        "pre_classifier.bias": head.pre_bias,
        "classifier.weight": head.kernel.T,
        "classifier.bias": head.bias,
    }
    for number, block in enumerate(weights.blocks):
        scale = (WIDTH / HEADS) ** -0.5  # of attention, which the query's part of the packed matrix includes
        (query, *kernels), (bias, *biases) = (np.split(packed, 3, axis=-1) for packed in block[:2])
        layers = [*zip([query / scale, *kernels], [bias / scale, *biases], strict=True)]
        layers += [*zip(block[2::2], block[3::2], strict=True)]
        for name, (weight, bias) in zip(distilbert.BLOCK_NAMES, layers, strict=True):
            named[f"distilbert.transformer.layer.{number}.{name}.weight"] = weight.T
            named[f"distilbert.transformer.layer.{number}.{name}.bias"] = bias
    return {name: np.ascontiguousarray(array, np.float32) for name, array in named.items()}


def export_hf(directory, **changes):
    """Exports the tiny model into a folder for transformers and returns that."""
    made = bundle(**changes)
    huggingface.write(dataclasses.replace(made, named_weights=named_weights(made.weights)), directory)
    return directory


def tokenizer() -> dict:
    """The content of the tokenizer.json that a run with this vocabulary writes."""
    words = Tokenizer(models.WordPiece(dict(zip(VOCABULARY, range(len(VOCABULARY)), strict=True)), unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenization.portable_content(json.loads(words.to_str()))


def bundle(**changes) -> Bundle:
    """The tiny model as formats are written from it."""
    content = {
        "weights": weights(),
        "named_weights": {},
        "network": NETWORK,
        "tokenizer": tokenizer(),
        "label_names": LABEL_NAMES,
        "max_length": MAX_LENGTH,
    }
    return Bundle(**(content | changes))


def export(directory, **changes):
    """Exports the tiny model into a version folder and returns that."""
    saved_model.write(bundle(**changes), directory)
    return directory


def texts(count: int, *, seed: int = 0) -> list[str]:
    """Texts of mixed length, some longer than the model reads, some empty."""
    generator = np.random.default_rng(seed)
    words = [*VOCABULARY[5:34], "!", "Σ", "日"]
    return [" ".join(generator.choice(words, generator.integers(0, 40))) for _ in range(count)]
