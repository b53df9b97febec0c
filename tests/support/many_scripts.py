"""Word pieces of many scripts: more than 65,535, so that token ids no longer fit into 16 bits."""

import unicodedata

# Of planes above the first, and newer than the fast tokenizer's Unicode tables: Adlam, hieroglyphs, Dogra, Newa.
NEWER = "\U0001e944\U0001e950\U00013000\U000130f0\U0001182f\U0001144b"
LEFT_OUT = range(0xAC00, 0xD7A4, 2)  # half of the Hangul syllables: some characters must be unknown


def word_pieces() -> list[str]:
    """Returns nearly every letter, mark, number, symbol and punctuation sign below U+10000, alone and inside a word."""
    codes = sorted({*range(33, 0x3400), *range(0x4E00, 0xD800), *range(0xF900, 0x10000)} - {*LEFT_OUT})
    characters = [character for character in map(chr, codes) if unicodedata.category(character)[0] in "LMNPS"]
    inside = [f"##{character}" for character in (*characters, *NEWER) if unicodedata.category(character)[0] in "LMN"]
    return [*characters, *NEWER, *inside]
