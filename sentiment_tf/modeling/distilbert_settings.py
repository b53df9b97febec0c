"""The settings of a DistilBERT: the known keys of its config.json, each checked.

Flags are checked against them, so nothing here loads TensorFlow.
"""

import dataclasses

from sentiment_tf.errors import UserError
from sentiment_tf.modeling import model_files

LARGEST_SIZE = 10_000_000  # for each size in config.json; the largest vocabularies have a million words


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.json that are read. The defaults are those of transformers.DistilBertConfig."""

    vocab_size: int = 30_522
    max_position_embeddings: int = 512
    n_layers: int = 6
    n_heads: int = 12
    dim: int = 768
    hidden_dim: int = 3_072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    qa_dropout: float = 0.1
    initializer_range: float = 0.02
    activation: str = "gelu"
    pad_token_id: int | None = 0
    sinusoidal_pos_embds: bool = False

    @property
    def limits(self) -> dict[str, int]:
        """What the settings of a run must not exceed: transformer blocks, and positions of a text."""
        return {"blocks": self.n_layers, "positions": self.max_position_embeddings}

    @property
    def encoder_parameters(self) -> int:
        """Number of weights without the head."""
        embeddings = (self.vocab_size + self.max_position_embeddings) * self.dim
        return embeddings + self.n_layers * (4 * self.dim + 2 * self.hidden_dim) * self.dim

    def problem(self) -> str | None:
        """Returns the first setting that is not what it must be, as a message, or None."""
        sizes = ("n_layers", "n_heads", "dim", "hidden_dim", "max_position_embeddings", "vocab_size")
        rates = ("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout")
        checks = [
            (sizes, _is_size, f"a whole number from 1 to {LARGEST_SIZE:,}"),
            (("n_heads",), lambda heads: self.dim % heads == 0, f"a divisor of dim={self.dim}"),
            (rates, lambda rate: _is_number(rate) and 0 <= rate < 1, "a number from 0 to less than 1"),
            (("initializer_range",), lambda scale: _is_number(scale) and 0 <= scale <= 1, "a number from 0 to 1"),
            (("activation",), lambda name: name in ("gelu", "relu"), "gelu or relu"),
            (("pad_token_id",), lambda token: token is None or token in range(self.vocab_size), "a token's id or null"),
            (("sinusoidal_pos_embds",), lambda value: type(value) is bool, "true or false"),
        ]
        for names, is_right, allowed in checks:
            for name in names:
                if not is_right(value := getattr(self, name)):
                    return f"{name}={repr(value)[:40]}; it must be {allowed}"
        return None


def read(directory: str, name: str) -> Settings:
    """Reads the config.json of a model folder: known keys only, each checked.

    Keys such as ``auto_map``, which name code to run, never reach transformers.

    Args:
      directory: The model folder.
      name: The model as the user gave it, for errors.

    Raises:
      UserError: The folder holds no weights that are safe to read, no DistilBERT, or a config.json with a value that
        is out of range or asks for more weights than there are.
    """
    weights, content = model_files.weights_file(directory, name), model_files.read_config(directory, name)
    if (kind := content.get("model_type", "nameless")) != "distilbert":
        raise UserError(f"--model={name}: this is a {str(kind)[:40]} model; pass a DistilBERT")
    known = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{key: content[key] for key in known if key in content})
    if problem := settings.problem():
        raise UserError(f"--model={name}: config.json has {problem}")
    if settings.encoder_parameters > (size := weights.stat().st_size):  # checked before memory is allocated
        raise UserError(
            f"--model={name}: its weights do not fit its config.json, which asks for {settings.encoder_parameters:,} "
            f"numbers, while {weights.name} has {size:,} bytes; pass the folder of a whole DistilBERT"
        )
    return settings


def _is_number(value) -> bool:
    return type(value) in (int, float)


def _is_size(value) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIZE
