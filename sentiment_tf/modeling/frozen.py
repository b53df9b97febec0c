"""The frozen layers, run once over every text of a split: token ids → hidden states."""

import functools
import logging
import sys

import numpy as np
import tensorflow as tf
import tqdm

from sentiment_tf.data import batching
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.distributed import collectives
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.system import runtime

TOKENS_AT_ONCE = 1024  # per batch: its intermediate results stay in one core's cache
TOKENS_AT_ONCE_ON_GPU = 16_384  # whose operations take longer to start than 1,024 tokens take to compute

log = logging.getLogger("sentiment_tf")


def run(
    model, tokens: Tokens, values: dict[int, np.ndarray], *, compute_dtype, max_length, name, strategy=None
) -> None:
    """Runs the trunk once, longest texts first: what does not fit in memory fails at once.

    Of several workers each computes a share of the batches, and gets the others' shares from them.

    Args are those of `features.compute`, but for ``values``: by depth, the array to fill, as `features.layout` says.
    """
    depths = sorted(values, reverse=True)
    forward, weights = _compile(model, depths, compute_dtype)
    devices = [device.name for device in tf.config.list_logical_devices("GPU")] or ["/CPU:0"] * runtime.cores()
    replicas = {device: _copy_to(weights, device) for device in set(devices)}

    def of_batch(numbered):
        """Returns what the trunk makes of a batch at each depth, without padding: [rows, D] or [tokens, D]."""
        number, rows = numbered
        device = devices[number % len(devices)]
        ids, mask = batching.pad(tokens.ids, tokens.offsets, rows, most=max_length)
        with tf.device(device):
            outputs = [output.numpy() for output in forward(replicas[device], tf.constant(ids), tf.constant(mask))]
        return tuple(
            (output[mask.astype(bool)] if depth else output).astype(values[depth].dtype)
            for depth, output in zip(depths, outputs, strict=True)
        )

    compute = functools.partial(runtime.side_by_side, of_batch, workers=len(devices))
    batches, like = _token_batches(tokens.lengths, max_length), [values[depth][:0] for depth in depths]
    quiet = not sys.stderr.isatty() or log.level > logging.INFO
    with tqdm.tqdm(total=len(tokens.lengths), desc=name, unit=" texts", disable=quiet) as progress:
        for rows, outputs in collectives.shared_out(strategy, batches, compute, like=like):
            for depth, output in zip(depths, outputs, strict=True):
                if depth == 0:
                    values[depth][rows] = output
                else:
                    _write_tokens(values[depth], tokens, rows, output)
            progress.update(len(rows))


def token_slots(lengths: np.ndarray, max_length: int) -> int:
    """Returns how many places, padding included, the trunk computes for texts of these lengths."""
    batches = _token_batches(lengths, max_length)
    return sum(len(rows) * batching.padded_width(lengths[rows], max_length) for rows in batches)


def _compile(model, depths: list[int], compute_dtype: tf.DType):
    """Returns (a graph: weights, ids, mask → the hidden states under each depth, deepest cut first; its weights)."""
    config = model.config
    weights = distilbert.read_weights(model, blocks=slice(config.n_layers - depths[-1]))
    weights = encoder.cast_for_compute(weights, compute_dtype)[:2]  # without the head

    @tf.function(reduce_retracing=True)
    def forward(weights, ids, mask):
        embeddings, blocks = weights
        hidden, done, outputs = encoder.embed(embeddings, tf.cast(ids, tf.int32)), 0, []
        for depth in depths:  # the deeper the cut, the fewer blocks are below it
            below = blocks[done : config.n_layers - depth]
            hidden = encoder.run_blocks(
                below, hidden, mask, heads=config.n_heads, activation=config.activation, pooled=depth == 0
            )
            outputs.append(hidden)
            done = config.n_layers - depth
        return outputs

    return forward, weights


def _token_batches(lengths: np.ndarray, max_length: int) -> list[np.ndarray]:
    """Cuts the rows, longest first, into batches of about `TOKENS_AT_ONCE` places."""
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
    """Puts what was computed of the tokens of these rows, one row after another, where each row has its place."""
    starts, stops = tokens.offsets[rows], tokens.offsets[rows + 1]
    pieces = np.split(output, np.cumsum(stops - starts)[:-1])
    for start, stop, piece in zip(starts, stops, pieces, strict=True):
        values[start:stop] = piece


def _copy_to(weights, device: str):
    with tf.device(device):
        return tf.nest.map_structure(tf.identity, weights)
