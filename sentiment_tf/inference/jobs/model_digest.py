"""A digest of the files that answer: two machines with the same digest give the same answers."""

import hashlib

from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout
from sentiment_tf.inference.engines import litert


def of(model: str, precision: str) -> str:
    """Returns the SHA-256 of a run's LiteRT model, tokenizer and settings.

    Raises:
      UserError: A file is missing or cannot be read.
    """
    folder = litert.find(model, precision=precision)
    digest = hashlib.sha256()
    for name in (layout.LITERT_FILES[precision], layout.TOKENIZER, layout.LITERT_CONFIG):
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"--model={model}: {folder / name}: {error.strerror}; export the model again") from None
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
