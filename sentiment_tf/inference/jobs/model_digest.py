"""A digest of the files that answer: two machines with the same digest give the same answers."""

import hashlib

from sentiment_tf.errors import UserError
from sentiment_tf.inference.engines import Engine


def of(model: str, engine: Engine, precision: str) -> str:
    """Returns the SHA-256 of the files that an engine reads of a run.

    Raises:
      UserError: A file is missing or cannot be read.
    """
    folder = engine.module.find(model, precision=precision)
    digest = hashlib.sha256()
    for path in engine.module.files(folder, precision=precision):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"--model={model}: {path}: {error.strerror}; export the model again") from None
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
