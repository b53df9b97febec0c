"""Training (the Hugging Face fast tokenizer) and serving (the graph) must see the same ids."""

import random
import re

import numpy as np
import pytest
import tensorflow as tf
from transformers import BertTokenizerFast, DistilBertTokenizerFast

from sentiment_tf.data import packaged, tokenization
from sentiment_tf.exporting.graph_tokenizer import GraphTokenizer
from tests.support import tiny_export
from tests.support.hard_strings import HARD_STRINGS
from tests.support.many_scripts import NEWER, word_pieces
from tests.support.reviews import packaged_reviews

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def vocabulary():
    return (packaged.model_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def trained_with():
    """transformers' own, which training's equals; see tests/modeling/test_bert_tokenizer.py."""
    return DistilBertTokenizerFast(
        vocab_file=str(packaged.model_folder() / "vocab.txt"), split_special_tokens=True
    ).backend_tokenizer


def graph(vocabulary, *, lower_case=True, max_length=128):
    return tf.function(
        GraphTokenizer(vocabulary, lower_case, max_length), input_signature=[tf.TensorSpec([None], tf.string)]
    )


def rows(tokenizer, texts):
    """Ids of each text, without padding."""
    ids, mask = tokenizer(tf.constant([text if isinstance(text, bytes) else text.encode() for text in texts]))
    return [row[:length].tolist() for row, length in zip(ids.numpy(), mask.numpy().sum(axis=1), strict=True)]


def differing(in_graph, trained_with, texts, *, max_length=128):
    """The texts whose ids differ, a thousand at a time; to training they come without line-break tags."""
    different = []
    for start in range(0, len(texts), 1000):
        some = texts[start : start + 1000]
        clean = [re.sub(tokenization.LINE_BREAK, " ", text) for text in some]
        tokens = tokenization.tokenize(trained_with, clean, max_length=max_length)
        expected = np.split(tokens.ids, tokens.offsets[1:-1])
        different += [
            text for text, ids, want in zip(some, rows(in_graph, some), expected, strict=True) if ids != want.tolist()
        ]
    return different


def test_at_least_a_hundred_distinct_hard_strings():
    assert len(set(HARD_STRINGS)) == len(HARD_STRINGS) >= 100


@pytest.mark.parametrize("max_length", [16, pytest.param(512, marks=pytest.mark.slow)])
def test_hard_strings(vocabulary, trained_with, max_length):
    in_graph = graph(vocabulary, max_length=max_length)
    assert differing(in_graph, trained_with, HARD_STRINGS, max_length=max_length) == []


def test_hard_strings_with_capitals(vocabulary, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*vocabulary, "The", "Good", "Σ"]), encoding="utf-8")
    cased = BertTokenizerFast(
        str(tmp_path / "vocab.txt"), do_lower_case=False, split_special_tokens=True
    ).backend_tokenizer
    in_graph = graph([*vocabulary, "The", "Good", "Σ"], lower_case=False)
    assert differing(in_graph, cased, [*HARD_STRINGS, "The Good, the good"]) == []


@pytest.fixture(scope="module")
def many_scripts():
    return list(dict.fromkeys([*SPECIAL, "a", "##a", "##b", "x", "##x", *word_pieces()]))


@pytest.mark.slow
@pytest.mark.parametrize("lower_case", [True, False])
def test_hard_strings_in_a_vocabulary_of_many_scripts(many_scripts, tmp_path, lower_case):
    (tmp_path / "vocab.txt").write_text("\n".join(many_scripts), encoding="utf-8")
    tokenizer = DistilBertTokenizerFast.from_pretrained(
        tmp_path, do_lower_case=lower_case, strip_accents=None, split_special_tokens=True
    ).backend_tokenizer
    assert tokenizer.get_vocab_size() > 2**16
    newer = [f"a{character}b {character}" for character in NEWER]
    texts = [*HARD_STRINGS, *newer, "\U00010600 \U00010601\u0c3c", "ΑΣ Straße ΔΕΛ", "x" * 60 + "\u166d" + "x" * 60]
    assert differing(graph(many_scripts, lower_case=lower_case), tokenizer, texts) == []


@pytest.mark.slow
def test_every_kind_of_character_in_a_vocabulary_of_many_scripts(many_scripts, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(many_scripts), encoding="utf-8")
    cased = BertTokenizerFast(
        str(tmp_path / "vocab.txt"), do_lower_case=False, split_special_tokens=True
    ).backend_tokenizer
    codes = [code for code in range(0x20000) if not 0xD800 <= code < 0xE000 and (code < 0x3400 or code % 8 == 0)]
    words = [f"a{chr(code)}b" for code in codes]
    texts = [" ".join(words[start : start + 20]) for start in range(0, len(words), 20)]
    assert differing(graph(many_scripts, lower_case=False, max_length=512), cased, texts, max_length=512) == []


def test_vocabulary_with_more_newer_characters_than_there_are_rare_letters():
    newer = [chr(code) for code in range(0x11938, 0x12000)]
    with pytest.raises(ValueError, match=r"1,736 characters of the vocabulary are newer"):
        GraphTokenizer([*SPECIAL, *newer], False, 128)


def test_ids_without_a_word_and_words_that_cannot_occur(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "good", "a", "film", "good", "a film", "b"]))
    tokenizer = DistilBertTokenizerFast.from_pretrained(tmp_path, split_special_tokens=True).backend_tokenizer
    vocabulary = tiny_export.bundle(tokenizer=tokenization.portable(tokenizer)).vocabulary
    assert vocabulary == [*SPECIAL, "[gap-5]", "a", "film", "good", "a film", "b"]
    texts = ["good a film b", "a  film", "[gap-5]"]
    assert differing(graph(vocabulary), tokenizer, texts) == []
    assert rows(graph(vocabulary), texts[:2]) == [[2, 8, 6, 7, 10, 3], [2, 6, 7, 3]]


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_packaged_reviews(vocabulary, trained_with, every):
    texts = packaged_reviews()[::every]
    assert sum("<br />" in text for text in texts) > 10_000 / every
    assert differing(graph(vocabulary), trained_with, texts) == []


def test_every_kind_of_character(vocabulary, trained_with):
    """Each character inside a word; of the huge uniform blocks (ideographs, hangul, private use) every 64th."""
    uniform = [range(0x3400, 0xA000), range(0xAC00, 0xD7A4), range(0xE000, 0xF900), range(0x17000, 0x18D00)]
    uniform += [range(0x20000, 0x32000), range(0x32000, 0xE0000), range(0xF0000, 0x110000)]
    left_out = {code for block in uniform for code in block if code % 64} | set(range(0xD800, 0xE000))
    words = [f"a{chr(code)}b" for code in range(0x110000) if code not in left_out]
    texts = [" ".join(words[start : start + 20]) for start in range(0, len(words), 20)]
    assert differing(graph(vocabulary, max_length=512), trained_with, texts, max_length=512) == []


def test_random_mixtures(vocabulary, trained_with):
    generator = random.Random(0)
    blocks = [range(0x20, 0x7F), range(0x250), range(0x300, 0x530), range(0x590, 0x1200), range(0x1E00, 0x3400)]
    blocks += [range(0x4E00, 0x4F00), range(0xAC00, 0xAD00), range(0xF900, 0x20000), range(0xE0000, 0xE0200)]

    def mixture():
        chosen = generator.sample(blocks, 2)
        return "".join(
            chr(generator.choice(generator.choice(chosen))) if generator.random() < 0.9 else generator.choice(" ΣAéß")
            for _ in range(generator.choice([3, 20, 120, 300]))
        )

    assert differing(graph(vocabulary), trained_with, [mixture() for _ in range(2000)]) == []


def test_line_break_tags_are_spaces_as_in_training():
    in_graph = graph([*SPECIAL, "a", "b", "<", "br", ">"])
    assert rows(in_graph, ["a<br />b<BR>a<br/>", "a <b> br>"]) == [[2, 5, 6, 5, 3], [2, 5, 7, 6, 9, 8, 9, 3]]


def test_ids_by_hand():
    in_graph = graph([*SPECIAL, "good", "film", "##s", "!", "日", "本"])
    assert rows(in_graph, ["Good FILMS!", "日本film", "bad film", ""]) == [
        [2, 5, 6, 7, 8, 3],
        [2, 9, 10, 6, 3],
        [2, 1, 6, 3],
        [2, 3],
    ]


def test_padding_and_mask():
    ids, mask = graph([*SPECIAL, "a"])(tf.constant(["a", "a a a"]))
    assert ids.dtype == mask.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 5, 3, 0, 0], [2, 5, 5, 5, 3]]
    assert mask.numpy().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_truncation_keeps_the_separator():
    in_graph = graph([*SPECIAL, "a", "b"], max_length=5)
    assert rows(in_graph, ["a b a", "a b a b", "a b a b a b"]) == [[2, 5, 6, 5, 3]] * 3


def test_shortest_max_length_keeps_both_edges():
    assert rows(graph([*SPECIAL, "a"], max_length=2), ["a a", ""]) == [[2, 3], [2, 3]]


def test_empty_batch_is_two_wide():
    ids, mask = graph([*SPECIAL, "a"])(tf.constant([], tf.string))
    assert ids.shape == mask.shape == (0, 2)


@pytest.mark.parametrize(
    "text",
    [b"a\xffb", b"\xff", b"a\xc3", b"\xe2\x82a", b"\xed\xa0\xbda", b"\xf4\x90\x80\x80b", b"\xc0\x80a", b"\x80\x80"],
)
def test_bytes_that_are_not_utf8_are_skipped(text):
    in_graph = graph([*SPECIAL, "a", "b", "##a", "##b"])
    assert rows(in_graph, [text]) == rows(in_graph, [text.decode("utf-8", "ignore")])


def test_unknown_letter_is_one_that_no_word_piece_holds():
    in_graph = graph([*SPECIAL, "\U00010600", "\U00010601", "a"])
    assert rows(in_graph, ["a" * 101, "\U00010600 \U00010601"]) == [[2, 1, 3], [2, 5, 6, 3]]


def test_vocabulary_without_a_special_token():
    with pytest.raises(ValueError, match=r"lacks \[CLS\], \[SEP\]"):
        GraphTokenizer(["[PAD]", "[UNK]", "good"], True, 128)
