"""What every export format is written from: the trained model as arrays, without the framework that trained it."""

import dataclasses
import functools

import numpy as np

from sentiment_tf.data import tokenization
from sentiment_tf.modeling import encoder, litert_network
from sentiment_tf.modeling.quantization import Divisors


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A trained classifier, ready to be written.

    Attributes:
      weights: the network for `encoder.logits`, float32; a calibration's temperature is folded into the classifier's.
      named_weights: the same as float32 arrays under the names of PyTorch's DistilBertForSequenceClassification.
      network: DistilBERT's settings as config.json spells them: n_heads, activation, dim, …
      tokenizer: content of the training tokenizer's tokenizer.json (`tokenization.portable`).
      label_names: the classes' names, in the order of their logits.
      max_length: tokens per text at most, [CLS] and [SEP] included.
      threshold: probability from which a text gets the second of two classes; None: the larger probability decides.
    """

    weights: encoder.Weights
    named_weights: dict[str, np.ndarray]
    network: dict
    tokenizer: dict
    label_names: tuple[str, ...]
    max_length: int
    threshold: float | None = None

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.network["n_heads"]

    @property
    def activation(self) -> str:
        """Activation of the feed-forward part, "gelu" or "relu"."""
        return self.network["activation"]

    @functools.cached_property
    def divisors(self) -> list[Divisors]:
        """What each block's activations are divided by before an int8 file rounds them."""
        return litert_network.find_divisors(self.weights, heads=self.heads, activation=self.activation)

    @property
    def decision(self) -> dict[str, float]:
        """The threshold as the exports' settings hold it; empty where the larger probability decides."""
        return {} if self.threshold is None else {"threshold": self.threshold}

    @property
    def vocabulary(self) -> list[str]:
        """Word pieces in the order of their ids; see `tokenization.vocabulary`."""
        return tokenization.vocabulary(self.tokenizer)

    @property
    def lower_case(self) -> bool:
        """Whether texts are lower-cased and stripped of accents."""
        return tokenization.bert_normalizer(self.tokenizer)["lowercase"]
