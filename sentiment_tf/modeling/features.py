"""The input of the trainable layers: the frozen layers' output, computed once and kept on disk for later runs."""

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from sentiment_tf.data import batching
from sentiment_tf.data.registry import Depth
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.modeling import feature_cache, frozen

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Features:
    """The input of the trainable layers, one entry per text or per token.

    Attributes:
      values: float32[rows, D] ([CLS] vectors), float16[tokens, D] (hidden states), or integer[tokens] (ids).
      offsets: int64[rows + 1] into ``values``, or None if there is one vector per text.
      most: Maximum width of a batch, the run's ``max_length``.
      least: Minimum width of a batch; equal to ``most`` if shapes must be static.
      seconds: Time that the frozen layers took, in this run or an earlier one.
    """

    values: np.ndarray
    offsets: np.ndarray | None
    most: int
    least: int = 2
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int32[rows], tokens of each text; all 1 if there is one vector per text."""
        return np.ones(len(self), np.int32) if self.offsets is None else np.diff(self.offsets).astype(np.int32)

    def gather(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns a batch of these rows; a `batching.PAD_ROW` row holds zeros or another row's values."""
        if self.offsets is None:
            return {"features": self.values[rows]}
        features, mask = batching.pad(self.values, self.offsets, rows, most=self.most, least=self.least)
        return {"features": features, "attention_mask": mask}

    def take(self, rows: np.ndarray) -> "Features":
        """Returns the features of some rows, int64[rows], copied into memory."""
        if self.offsets is None:
            return dataclasses.replace(self, values=self.values[rows])
        lengths = self.lengths[rows]
        values = np.concatenate([self.values[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        return dataclasses.replace(self, values=values, offsets=np.concatenate([[0], np.cumsum(lengths)]))

    def padding_share(self, plan: np.ndarray) -> float:
        """Returns the share of padding in the batches of a plan; 0 if there is one vector per text."""
        if self.offsets is None:
            return 0.0
        return batching.padding_share(self.lengths, plan, self.most, least=self.least)

    def signature(self, batch_size: int) -> dict[str, tf.TensorSpec]:
        """Returns the specs of the tensors that `gather` returns for this many rows."""
        if self.offsets is None:
            return {"features": tf.TensorSpec([batch_size, self.values.shape[1]], tf.float32)}
        width = self.most if self.least == self.most else None
        return {
            "features": tf.TensorSpec([batch_size, width, *self.values.shape[1:]], self.values.dtype),
            "attention_mask": tf.TensorSpec([batch_size, width], tf.int32),
        }


def compute(
    model,
    splits: Mapping[str, Tokens],
    *,
    depth: Depth,
    compute_dtype: tf.DType,
    max_length: int,
    cache_dir: str | None,
    train_dtype: tf.DType | None = None,
    strategy: tf.distribute.Strategy | None = None,
    least_width: int = 2,
    only: Collection[str] | None = None,
    also: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> dict[str, Features]:
    """Returns the features of each split, from the cache if it has them; workers compute a share each.

    Args:
      model: From `distilbert.load_classifier`.
      splits: Tokens by name of the split, which the progress bar shows.
      depth: How much of the model is trained. Without frozen blocks the features are token ids.
      compute_dtype: Dtype of the frozen layers' matrix multiplications.
      max_length: Maximum number of tokens per text.
      cache_dir: Folder of the cache, or None to compute in memory and keep nothing.
      train_dtype: The dtype for the split "train", if it is another.
      strategy: The run's tf.distribute strategy, whose workers share the work; None for this process alone.
      least_width: Minimum width of a batch from `Features.gather`.
      only: Splits to return, None for all; the disk must have space for all splits in any case.
      also: For each split, depths that will be needed later. If the frozen layers have to run, the features for these
        depths are cached in the same pass, provided that the disk has space for those of all splits.

    Raises:
      NoRoomError: The disk has too little space for the features of all splits; raised before any computation.
    """
    only = splits if only is None else only
    if depth == "all" or depth == model.config.num_hidden_layers:
        return {name: Features(splits[name].ids, splits[name].offsets, max_length, least_width) for name in only}
    strategy = strategy or tf.distribute.get_strategy()
    dtypes = dict.fromkeys(splits, compute_dtype) | ({"train": train_dtype} if train_dtype else {})

    def fill(name: str, values: dict[int, np.ndarray]) -> None:
        tokens = splits[name]
        padding = 1 - tokens.lengths.sum() / max(frozen.token_slots(tokens.lengths, max_length, dtypes[name]), 1)
        log.info("%s: %.1f %% of the tokens that the frozen layers compute are padding", name, 100 * padding)
        settings = {"compute_dtype": dtypes[name], "max_length": max_length, "name": name, "strategy": strategy}
        frozen.run(model, tokens, values, **settings)

    if cache_dir is None:
        made = {name: _in_memory(layout(model, splits[name], depth), depth, name, fill) for name in only}
    else:
        entries = {
            name: {at: _entry(model, tokens, at, dtypes[name], cache_dir) for at in (depth, *also.get(name, ()))}
            for name, tokens in splits.items()
        }
        made = feature_cache.cached(entries, depth, fill, strategy, only=only)
    return {
        name: Features(values, None if depth == 0 else splits[name].offsets, max_length, least_width, seconds)
        for name, (values, seconds) in made.items()
    }


def _in_memory(layout: tuple, depth: int, name: str, fill: Callable) -> tuple[np.ndarray, float]:
    """Computes a split's values without a cache; returns them and the seconds that they took."""
    began, values = time.perf_counter(), np.empty(*layout)
    fill(name, {depth: values})
    return values, time.perf_counter() - began


def _entry(model, tokens: Tokens, depth: int, compute_dtype: tf.DType, cache_dir: str) -> feature_cache.Entry:
    folder = feature_cache.folder_of(model, tokens, depth=depth, compute_dtype=compute_dtype, cache_dir=cache_dir)
    return feature_cache.Entry(folder, *layout(model, tokens, depth))


def layout(model, tokens: Tokens, depth: int) -> tuple[tuple[int, int], np.dtype]:
    """Returns shape and dtype of the frozen layers' output for a split: [rows, D] at depth 0, else [tokens, D]."""
    width = model.config.hidden_size
    if depth == 0:
        return (len(tokens.lengths), width), np.dtype(np.float32)
    return (len(tokens.ids), width), np.dtype(np.float16)
