"""A tiny run with a LiteRT export: the tests' vocabulary of letters with random weights."""

import functools
import json

from sentiment_tf.exporting import litert
from tests.support import tiny_export


@functools.cache
def tokenizer_json() -> str:
    """The tokenizer that training would use for the tiny vocabulary, in the form that runs save."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: number for number, token in enumerate(tiny_export.VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(tiny_export.VOCABULARY[:5])
    return tokenizer.to_str()


def export(run, **changes):
    """Writes <run>/litert and returns the run."""
    run.mkdir(parents=True, exist_ok=True)
    file = run / "source.json"
    file.write_text(tokenizer_json(), encoding="utf-8")
    settings = {
        "weights": tiny_export.weights(),
        "heads": tiny_export.HEADS,
        "tokenizer": file,
        "label_names": tiny_export.LABEL_NAMES,
        "max_length": tiny_export.MAX_LENGTH,
    }
    litert.write(run / "litert", **(settings | changes))
    file.unlink()
    return run


def edit_config(run, **changes):
    """Changes settings of an export; None takes one away."""
    path = run / "litert" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
