"""The trunk × tokens → features, once: what the frozen layers compute is kept on disk for every later epoch and run."""

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from sentiment_tf.data import batching
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.modeling import feature_cache, frozen

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Features:
    """What the tail is trained on, one entry per text or per token.

    Attributes:
      values: float32[rows, D] ([CLS] vectors), float16[tokens, D] (hidden states), or integer[tokens] (ids).
      offsets: int64[rows + 1] into ``values``, or None where there is one vector per text.
      most: widest batch allowed, the run's ``max_length``.
      least: narrowest batch allowed: ``most``, too, where shapes must be static.
      seconds: that the trunk took over them, now or in an earlier run.
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
        """int32[rows]: what a batch is padded by; all 1 where there is one vector per text."""
        return np.ones(len(self), np.int32) if self.offsets is None else np.diff(self.offsets).astype(np.int32)

    def gather(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the tail's input for these rows; a `batching.FILLER` row holds zeros or another row's values."""
        if self.offsets is None:
            return {"features": self.values[rows]}
        features, mask = batching.pad(self.values, self.offsets, rows, most=self.most, least=self.least)
        return {"features": features, "attention_mask": mask}

    def padding_share(self, plan: np.ndarray) -> float:
        """Returns the share of padding in the batches of a plan; 0 where there is one vector per text."""
        if self.offsets is None:
            return 0.0
        return batching.padding_share(self.lengths, plan, self.most, least=self.least)

    def signature(self, batch_size: int) -> dict[str, tf.TensorSpec]:
        """Returns the tensors that `gather` gives for so many rows."""
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
    depth: int | None,
    compute_dtype: tf.DType,
    max_length: int,
    cache_dir: str | None,
    strategy: tf.distribute.Strategy | None = None,
    least_width: int = 2,
    only: Collection[str] | None = None,
    also: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> dict[str, Features]:
    """Returns the features of each split, from the cache where it has them; several workers compute a share each.

    Args:
      model: loaded classifier.
      splits: tokens by the split's name, which the progress bar shows.
      depth: blocks above the cut (None: everything); all blocks or None make the token ids the features.
      compute_dtype: of the trunk's matmuls.
      max_length: of the run.
      cache_dir: the cache's folder, or None to compute in memory and keep nothing.
      strategy: of the run, whose workers share the work; None computes it here.
      least_width: narrowest batch that `Features.gather` gives.
      only: the splits that are computed, None for all; room is looked for as if all were.
      also: by split, depths that will be asked for later; where the trunk has to run, it caches what they need on
        its way, if there is room for those of all splits.

    Raises:
      NoRoomError: the disk has too little space for the features of all splits; it is found before any of the work.
    """
    only = splits if only is None else only
    if depth is None or depth == model.config.num_hidden_layers:
        return {name: Features(splits[name].ids, splits[name].offsets, max_length, least_width) for name in only}
    strategy = strategy or tf.distribute.get_strategy()

    def fill(name: str, values: dict[int, np.ndarray]) -> None:
        tokens = splits[name]
        padding = 1 - tokens.lengths.sum() / max(frozen.token_slots(tokens.lengths, max_length), 1)
        log.info("%s: %.1f %% of the places the trunk computes are padding", name, 100 * padding)
        settings = {"compute_dtype": compute_dtype, "max_length": max_length, "name": name, "strategy": strategy}
        frozen.run(model, tokens, values, **settings)

    if cache_dir is None:
        made = {name: _in_memory(layout(model, splits[name], depth), depth, name, fill) for name in only}
    else:
        entries = {
            name: {at: _entry(model, tokens, at, compute_dtype, cache_dir) for at in (depth, *also.get(name, ()))}
            for name, tokens in splits.items()
        }
        made = feature_cache.cached(entries, depth, fill, strategy, only=only)
    return {
        name: Features(values, None if depth == 0 else splits[name].offsets, max_length, least_width, seconds)
        for name, (values, seconds) in made.items()
    }


def _in_memory(layout: tuple, depth: int, name: str, fill: Callable) -> tuple[np.ndarray, float]:
    """Returns the values of a split, which no cache keeps, and the seconds that they took."""
    began, values = time.perf_counter(), np.empty(*layout)
    fill(name, {depth: values})
    return values, time.perf_counter() - began


def _entry(model, tokens: Tokens, depth: int, compute_dtype: tf.DType, cache_dir: str) -> feature_cache.Entry:
    folder = feature_cache.folder_of(model, tokens, depth=depth, compute_dtype=compute_dtype, cache_dir=cache_dir)
    return feature_cache.Entry(folder, *layout(model, tokens, depth))


def layout(model, tokens: Tokens, depth: int) -> tuple[tuple[int, int], np.dtype]:
    """Returns shape and dtype of what a trunk leaves of a split: [rows, D] at depth 0, else [tokens, D]."""
    width = model.config.dim
    if depth == 0:
        return (len(tokens.lengths), width), np.dtype(np.float32)
    return (len(tokens.ids), width), np.dtype(np.float16)
