"""The training tokenizer's rules as a TensorFlow graph, so that the export answers raw text.

Training splits texts into word pieces with the Hugging Face fast tokenizer (`data.tokenization`). A served model has
no Python, so the same rules run here as TensorFlow operations. tensorflow-text has a BERT tokenizer of its own, but it
uses newer Unicode tables, lower-cases by other rules and counts a word's bytes instead of its characters. The text is
therefore normalised by explicit steps first, and only the splitting is left to tensorflow-text.
"""

import re
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from sentiment_tf.data.tokenization import LINE_BREAK, SPECIAL_TOKENS

# Deleted from every text: controls other than tab, line feed and carriage return (which are white space), format
# characters, private use, and U+FFFD, which other programs write for bytes that they could not decode.
_CONTROLS = r"\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\x{FFFD}\p{Cf}\p{Co}"

# Accents, once letters are decomposed. In the fast tokenizer's tables U+1734 is one.
_ACCENTS = r"\p{Mn}\x{1734}"

# The fast tokenizer's Unicode tables are older than TensorFlow's. It takes these newer marks, punctuation signs
# and ideographs (above U+FFFF with their neighbours, to keep the list short) for plain letters.
_LETTERS_BY_OLDER_TABLES = (
    r"\x{061D}\x{07FD}\x{0890}-\x{0891}\x{0898}-\x{089F}\x{08CA}-\x{08E2}\x{09FD}-\x{09FE}\x{0A76}"
    r"\x{0AFA}-\x{0AFF}\x{0B55}\x{0C04}\x{0C3C}\x{0C77}\x{0C84}\x{0D00}\x{0D3B}-\x{0D3C}\x{0D81}\x{0EBA}"
    r"\x{0ECE}\x{180F}\x{1885}-\x{1886}\x{1ABF}-\x{1ACE}\x{1B4E}-\x{1B4F}\x{1B7D}-\x{1B7F}"
    r"\x{1DF6}-\x{1DFB}\x{2E43}-\x{2E4F}\x{2E52}-\x{2E5D}\x{A82C}\x{A8C5}\x{A8FF}\x{A9BD}"
    r"\x{105C9}-\x{105E4}\x{10D24}-\x{10D27}\x{10D6E}-\x{10F89}\x{11070}-\x{11074}\x{110C2}-\x{110CD}"
    r"\x{111CF}\x{1123E}-\x{11241}\x{1133B}\x{11383}-\x{1145E}\x{11660}-\x{1166C}\x{116B9}"
    r"\x{1182F}-\x{1183B}\x{11938}-\x{11FFF}\x{12FF1}-\x{16128}\x{16D68}-\x{16D6F}\x{16E97}-\x{16F4F}"
    r"\x{16FE2}-\x{16FE4}\x{1CF00}-\x{1CF46}\x{1E000}-\x{1E5FF}\x{1E944}-\x{1E95F}\x{2B820}-\x{2B91F}"
)

# The other way round: punctuation only in the older tables.
_PUNCTUATION_BY_OLDER_TABLES = r"\x{166D}\x{111C9}"

# White space, punctuation (including every ASCII symbol) and Chinese characters end a word.
_WORD_ENDS = (
    r"\p{Z}\t\n\r\p{P}$+<=>^`|~\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}"
    r"\x{20000}-\x{2A6DF}\x{2A700}-\x{2CEAF}\x{2F800}-\x{2FA1F}"
)

# Letters that both tables know, of scripts that no text is likely to use: Linear A and cuneiform.
_RARE_LETTERS = (*map(chr, range(0x10600, 0x10737)), *map(chr, range(0x12000, 0x1239A)))

_LONGEST_WORD = 100  # characters; a longer word is unknown
_BYTES_PER_CHARACTER = 4  # at most, in UTF-8


class GraphTokenizer(tf.Module):
    """Raw text to token ids, equal to those of BertTokenizerFast with `split_special_tokens=True`.

    A literal "[SEP]" in a text is split into punctuation and a word, as any text is. Bytes that are not UTF-8 are
    skipped (training texts are Python strings and hold none).

    Args:
      vocabulary: The word pieces in the order of their ids, including "[PAD]", "[UNK]", "[CLS]" and "[SEP]".
      lower_case: Whether to lower-case texts and strip accents, as for an uncased model.
      max_length: Maximum number of tokens per row, including [CLS] and [SEP]; at least 2.

    Raises:
      ValueError: A special token is missing from the vocabulary, or more than a thousand of its characters are newer
        than the fast tokenizer's Unicode tables.
    """

    def __init__(self, vocabulary: Sequence[str], lower_case: bool, max_length: int):
        super().__init__()
        missing = set(SPECIAL_TOKENS) - set(vocabulary)
        if missing:
            raise ValueError(f"the vocabulary lacks {', '.join(sorted(missing))}")
        self.lower_case = lower_case
        self.max_length = max_length
        self._padding_id, self._first_id, self._last_id = map(vocabulary.index, ("[PAD]", "[CLS]", "[SEP]"))
        self._stand_ins, self._unknown_letter = _stand_ins(vocabulary)
        self._word_pieces = tf_text.FastWordpieceTokenizer(
            [_reachable(piece, number).translate(self._stand_ins) for number, piece in enumerate(vocabulary)],
            token_out_type=tf.int32,
            max_bytes_per_word=_LONGEST_WORD * _BYTES_PER_CHARACTER,  # _hide_long_words counts characters
        )

    def __call__(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Tokenizes, truncates to `max_length` keeping [SEP], and pads to the longest row.

        Args:
          text: string[batch], UTF-8; may be empty.

        Returns:
          (input_ids, attention_mask), both int32[batch, length] with 2 <= length <= max_length.
        """
        pieces = self._word_pieces.tokenize(self.normalize(text))[:, : self.max_length - 2]
        edge = tf.ones([tf.size(text), 1], tf.int32)
        ids = tf.concat([edge * self._first_id, pieces, edge * self._last_id], axis=1)
        lengths = ids.row_lengths()
        width = tf.maximum(tf.reduce_max(lengths), 2)  # reduce_max of no rows is the smallest integer
        input_ids = ids.to_tensor(self._padding_id, shape=tf.stack([-1, width]))
        return input_ids, tf.sequence_mask(lengths, width, dtype=tf.int32)

    def normalize(self, text: tf.Tensor) -> tf.Tensor:
        """Normalises text so that splitting at spaces, punctuation and ideographs gives the fast tokenizer's words.

        Args:
          text: string[batch].

        Returns:
          string[batch], valid UTF-8.
        """
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="ignore")
        text = tf.strings.regex_replace(text, LINE_BREAK, " ")  # as in training texts (data/labels.py)
        text = self._put_stand_ins(text)
        text = _replace(text, _LETTERS_BY_OLDER_TABLES, self._unknown_letter)
        text = _replace(text, _PUNCTUATION_BY_OLDER_TABLES, f" {self._unknown_letter} ")
        text = _replace(text, _CONTROLS, "")
        if self.lower_case:
            text = _replace(tf_text.normalize_utf8(text, "NFD"), _ACCENTS, "")
            text = _lower(text)
        return self._hide_long_words(text)

    def _put_stand_ins(self, text: tf.Tensor) -> tf.Tensor:
        """Replaces the vocabulary's characters that the two tables disagree on, as in the word pieces."""
        if self._stand_ins:
            text = _replace(text, "".join(self._stand_ins.values()), self._unknown_letter)
        for code, stand_in in self._stand_ins.items():
            is_punctuation = re.match(_python(_PUNCTUATION_BY_OLDER_TABLES), chr(code))
            text = _replace(text, chr(code), f" {stand_in} " if is_punctuation else stand_in)
        return text

    def _hide_long_words(self, text: tf.Tensor) -> tf.Tensor:
        """Replaces each word that is too long to be looked up by an unknown letter."""
        may_be_long = tf.strings.regex_full_match(text, rf"(?s).*\S{{{_LONGEST_WORD + 1}}}.*")
        # Finding the word itself takes ten times as long as all other steps together, and few texts need it.
        return tf.cond(
            tf.reduce_any(may_be_long),
            lambda: tf.where(may_be_long, self._without_long_words(text), text),
            lambda: text,
        )

    def _without_long_words(self, text: tf.Tensor) -> tf.Tensor:
        apart = tf.strings.regex_replace(text, f"([{_WORD_ENDS}])", r" \1 ")  # splits nothing that was not split
        return tf.strings.regex_replace(apart, f"[^ ]{{{_LONGEST_WORD + 1},}}", self._unknown_letter)


def _replace(text: tf.Tensor, characters: str, replacement: str) -> tf.Tensor:
    return tf.strings.regex_replace(text, f"[{characters}]", replacement)


def _lower(text: tf.Tensor) -> tf.Tensor:
    """Lower-cases each character on its own: the result must not depend on its neighbours or on the locale.

    Capital letters of Unicode 14 and later, which TensorFlow's tables do not have, stay capital.
    """
    text = tf.strings.lower(text)  # ASCII first: the last line turns I into a dotless i under a Turkish locale
    text = _replace(text, "Σ", "σ")  # at the end of a word TensorFlow writes ς, the fast tokenizer σ
    return tf.strings.lower(text, encoding="utf-8")


def _stand_ins(vocabulary: Sequence[str]) -> tuple[dict[int, str], str]:
    """Chooses rare letters that the vocabulary does not hold.

    Returns:
      A letter for the code of each of the vocabulary's characters that the two tables disagree on; and one more, which
      makes a word unknown.
    """
    characters = set("".join(vocabulary))
    disputed = _python(_LETTERS_BY_OLDER_TABLES + _PUNCTUATION_BY_OLDER_TABLES)
    replaced = sorted(character for character in characters if re.match(disputed, character))
    free = [letter for letter in _RARE_LETTERS if letter not in characters]
    if len(replaced) >= len(free):
        raise ValueError(
            f"{len(replaced):,} characters of the vocabulary are newer than the tokenizer's Unicode tables"
        )
    return {ord(character): free[number] for number, character in enumerate(replaced)}, free[-1]


def _reachable(piece: str, number: int) -> str:
    """Returns a word piece; for one with white space inside, which no word matches, another that none matches."""
    # FastWordpieceTokenizer would match it across two words.
    return piece if len(piece.split()) < 2 else f"\ufffd{number}"


def _python(characters: str) -> str:
    """Returns characters in RE2's notation as a class of Python's regular expressions."""
    return "[" + re.sub(r"\\x\{(\w+)\}", lambda code: rf"\U{int(code[1], 16):08x}", characters) + "]"
