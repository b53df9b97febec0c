"""Runs the frozen layers once over every text of a split: token ids → hidden states."""

import functools
import logging
import queue
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tqdm

from sentiment_tf.data import batching
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.distributed import collectives
from sentiment_tf.modeling import distilbert, encoder, litert_network, litert_runtime
from sentiment_tf.system import runtime

TOKENS_AT_ONCE = 1024  # per batch, so that its intermediate results stay in one core's cache
TOKENS_AT_ONCE_ON_GPU = 16_384  # a GPU takes longer to start an operation than to compute 1,024 tokens

log = logging.getLogger("sentiment_tf")


def run(
    model, tokens: Tokens, values: dict[int, np.ndarray], *, compute_dtype, max_length, name, strategy=None
) -> None:
    """Runs the frozen layers over all texts, the longest first, so that a lack of memory shows at once.

    With several workers, each computes a share of the batches and receives the others' shares.

    Args:
      model: From `distilbert.load_classifier`.
      tokens: The token ids of one split.
      values: The array to fill for each depth, with the shape and dtype of `features.layout`.
      compute_dtype: Dtype of the matrix multiplications.
      max_length: Maximum number of tokens per text.
      name: The split's name, for the progress bar.
      strategy: The run's tf.distribute strategy, or None for this process alone.
    """
    depths = sorted(values, reverse=True)
    layers = _Int8Layers(model, depths) if compute_dtype == tf.int8 else _TensorFlowLayers(model, depths, compute_dtype)

    def of_batch(numbered):
        """Returns a batch's hidden states for each depth, without padding: [rows, D] or [tokens, D]."""
        number, rows = numbered
        ids, mask = batching.pad(tokens.ids, tokens.offsets, rows, most=max_length)
        outputs = layers.run(number, ids, mask)
        return tuple(output.astype(values[depth].dtype) for depth, output in zip(depths, outputs, strict=True))

    compute = functools.partial(runtime.side_by_side, of_batch, workers=layers.workers)
    batches, empty = layers.batches(tokens.lengths, max_length), [values[depth][:0] for depth in depths]
    quiet = not sys.stderr.isatty() or log.level > logging.INFO
    with tqdm.tqdm(total=len(tokens.lengths), desc=name, unit=" texts", disable=quiet) as progress:
        for rows, outputs in collectives.sharded_map(strategy, batches, compute, empty=empty):
            for depth, output in zip(depths, outputs, strict=True):
                if depth == 0:
                    values[depth][rows] = output
                else:
                    _write_tokens(values[depth], tokens, rows, output)
            progress.update(len(rows))


class _TensorFlowLayers:
    """The frozen layers in float32, bfloat16 or float16, in one graph for each core or GPU."""

    def __init__(self, model, depths: list[int], compute_dtype: tf.DType):
        self._forward, weights = _compile(model, depths, compute_dtype)
        self._depths = depths
        self._devices = [gpu.name for gpu in tf.config.list_logical_devices("GPU")] or ["/CPU:0"] * runtime.cores()
        self._replicas = {device: _copy_to(weights, device) for device in set(self._devices)}
        self.workers = len(self._devices)

    def batches(self, lengths: np.ndarray, max_length: int) -> list[np.ndarray]:
        """Returns the rows of each batch."""
        return _token_batches(lengths, max_length)

    def run(self, number: int, ids: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        """Returns the hidden states of a batch for each depth, without padding."""
        device = self._devices[number % len(self._devices)]
        with tf.device(device):
            outputs = self._forward(self._replicas[device], tf.constant(ids), tf.constant(mask))
        pairs = zip(self._depths, outputs, strict=True)
        return [output.numpy()[mask.astype(bool)] if depth else output.numpy() for depth, output in pairs]


class _Int8Layers:
    """The frozen layers in int8, by LiteRT: on CPUs with AVX512-VNNI 1.8 times as fast as in bfloat16."""

    def __init__(self, model, depths: list[int]):
        self.workers, threads = litert_runtime.interpreters_and_threads(runtime.cores())
        self._free = queue.SimpleQueue()  # interpreters that no thread is using
        settings = distilbert.architecture(model) | {"depths": depths}
        with tempfile.TemporaryDirectory(prefix="sentiment_tf-") as folder:  # a file that is mapped may be deleted
            path = Path(folder) / "frozen.tflite"
            litert_network.write_frozen_layers(path, weights=distilbert.read_weights(model), **settings)
            for _ in range(self.workers):
                interpreter = litert_runtime.Interpreter(path, threads=threads, outputs=list(map(str, depths)))
                self._free.put(interpreter)

    def batches(self, lengths: np.ndarray, max_length: int) -> list[np.ndarray]:
        """Returns the rows of each batch, texts of equal length."""
        return litert_runtime.calls(lengths)

    def run(self, number: int, ids: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        """Returns the hidden states of a batch for each depth."""
        interpreter = self._free.get()
        try:
            width = int(mask[0].sum())  # without the padding up to a multiple of some tokens
            return interpreter(np.ascontiguousarray(ids[:, :width], np.int32))
        finally:
            self._free.put(interpreter)


def token_slots(lengths: np.ndarray, max_length: int, compute_dtype: tf.DType) -> int:
    """Returns how many tokens, including padding, `run` computes for texts of these lengths."""
    if compute_dtype == tf.int8:
        return int(lengths.sum())
    batches = _token_batches(lengths, max_length)
    return sum(len(rows) * batching.padded_width(lengths[rows], max_length) for rows in batches)


def _compile(model, depths: list[int], compute_dtype: tf.DType):
    """Compiles the frozen layers.

    Returns:
      A function of (weights, ids, mask) that gives the hidden states for each of the depths, which are in descending
      order; and its weights.
    """
    total, architecture = model.config.num_hidden_layers, distilbert.architecture(model)
    weights = distilbert.read_weights(model, blocks=slice(total - depths[-1]))
    weights = encoder.cast_for_compute(weights, compute_dtype)[:2]  # without the head

    @tf.function(reduce_retracing=True)
    def forward(weights, ids, mask):
        embeddings, blocks = weights
        hidden, done, outputs = encoder.embed(embeddings, tf.cast(ids, tf.int32)), 0, []
        for depth in depths:  # the more blocks are trained, the fewer are frozen
            hidden = encoder.run_blocks(blocks[done : total - depth], hidden, mask, pooled=depth == 0, **architecture)
            outputs.append(hidden)
            done = total - depth
        return outputs

    return forward, weights


def _token_batches(lengths: np.ndarray, max_length: int) -> list[np.ndarray]:
    """Splits the rows, longest first, into batches of about `TOKENS_AT_ONCE` tokens, including padding."""
    at_once = TOKENS_AT_ONCE_ON_GPU if tf.config.list_logical_devices("GPU") else TOKENS_AT_ONCE
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = batching.padded_width(lengths[order[start : start + 1]], max_length)
        stop = start + max(at_once // width, 1)
        batches.append(order[start:stop])
        start = stop
    return batches


def _write_tokens(values: np.ndarray, tokens: Tokens, rows: np.ndarray, output: np.ndarray) -> None:
    """Copies the hidden states of these rows' tokens, given row after row, to the rows' own positions in ``values``."""
    starts, stops = tokens.offsets[rows], tokens.offsets[rows + 1]
    pieces = np.split(output, np.cumsum(stops - starts)[:-1])
    for start, stop, piece in zip(starts, stops, pieces, strict=True):
        values[start:stop] = piece


def _copy_to(weights, device: str):
    with tf.device(device):
        return tf.nest.map_structure(tf.identity, weights)
