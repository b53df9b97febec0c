"""The graph's tokenizer gives the ids of the Hugging Face one for any Unicode text."""

import re

import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import DistilBertTokenizerFast

from sentiment_tf.data import packaged, tokenization
from sentiment_tf.exporting.graph_tokenizer import GraphTokenizer

MAX_LENGTH = 64
ANY = st.characters(exclude_categories=["Cs"])
# Letters, marks and signs that meet: their order and neighbours matter to normalizers.
CLOSE = st.sampled_from(
    [
        *"aAzZéÉßΣσςİıǅﬁK",
        "\u0301",
        "\u0323",
        "\u200d",
        "\u00ad",
        "\ufffd",
        "\x00",
        "日",
        "!",
        "##",
        "[SEP]",
        " ",
        "<br />",
    ]
)
TEXTS = st.lists(st.text(ANY, max_size=30) | st.lists(CLOSE | ANY, max_size=30).map("".join), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def tokenizers():
    vocabulary = packaged.model_folder() / "vocab.txt"
    words = vocabulary.read_text(encoding="utf-8").splitlines()
    signature = [tf.TensorSpec([None], tf.string)]
    in_graph = tf.function(GraphTokenizer(words, True, MAX_LENGTH), input_signature=signature)
    return in_graph, DistilBertTokenizerFast(vocab_file=str(vocabulary), split_special_tokens=True).backend_tokenizer


@given(texts=TEXTS)
@example(texts=["<b\u0301r>"])
def test_the_graph_tokenizes_as_training_does(tokenizers, texts):
    in_graph, trained_with = tokenizers
    ids, mask = in_graph(tf.constant([text.encode() for text in texts]))
    clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in texts]
    expected = tokenization.tokenize(trained_with, clean, max_length=MAX_LENGTH)
    for row, text in enumerate(texts):
        answer = ids[row, : int(mask[row].numpy().sum())].numpy().tolist()
        assert answer == expected.ids[expected.offsets[row] : expected.offsets[row + 1]].tolist(), ascii(text)
