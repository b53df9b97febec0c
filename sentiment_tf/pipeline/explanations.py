"""What a run explains: its most confident mistakes, and rows that show whether the explanations deserve trust."""

import json

import numpy as np
import tensorflow as tf
import tokenizers

from sentiment_tf.config import TrainConfig
from sentiment_tf.data import tokenization
from sentiment_tf.evaluation import attributions, breakdown
from sentiment_tf.evaluation.attributions import Word
from sentiment_tf.inference.engines.safetensors import FusedClassifier
from sentiment_tf.modeling import distilbert, encoder
from sentiment_tf.pipeline.setup import RunState
from sentiment_tf.reporting.report import SHOWN
from sentiment_tf.reporting.rows import ReportedRows

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of a text's words that are deleted
CURVE_TEXTS, CURVE_TOKENS = 16, 2048  # at most, of the deletion curve: an explanation costs some forty forward passes


def load(config: TrainConfig, state: RunState, *, temperature: float, threshold: float | None) -> FusedClassifier:
    """Returns the trained model as the exports answer, from the weights in memory: no format need have been written."""
    weights = encoder.divide_logits(distilbert.read_weights(state.model), temperature)
    arrays = tf.nest.map_structure(lambda weight: tf.convert_to_tensor(weight).numpy(), weights)
    settings = distilbert.network_settings(state.model) | {
        "id2label": {str(number): name for number, name in enumerate(state.splits.label_names)},
        "threshold": threshold,
    }
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(tokenization.portable(state.tokenizer)))
    tokenizer.enable_truncation(config.max_length)
    return FusedClassifier(arrays, settings, tokenizer, precision="float32")


def explain(
    config: TrainConfig, state: RunState, model: FusedClassifier, rows: ReportedRows
) -> tuple[dict[int, tuple[Word, ...]], dict]:
    """Explains the most confident mistakes, and draws the deletion curve on validation rows.

    Returns:
      By reported row the words of its text, and what run.json says: "method", "texts" (of the curve),
      "largest_missed" (see `attributions.Explanation`) and "deletion", see `attributions.deletion_curve`.
    """
    shown = breakdown.mistakes(rows.logits_after, rows.labels, predicted=rows.predicted)[:SHOWN]
    validation = state.splits.rows["validation"]
    texts = list(validation[_sample(config, state)]["text"])
    # In one request: the fewer points are left, the emptier are its batches.
    found = model.explain([*(rows.texts[row] for row in shown), *texts])
    mistakes, explained = found[: len(shown)], found[len(shown) :]
    curve = attributions.deletion_curve(
        lambda kept: model.predict(kept)[1],
        texts,
        explained,
        classes=[model.label_names.index(each.label) for each in explained],
        shares=SHARES,
        seed=config.seed,
    )
    content = {
        "method": attributions.METHOD,
        "texts": len(texts),
        "largest_missed": max(each.missed for each in found),
        "deletion": curve,
    }
    return {row: each.words for row, each in zip(shown, mistakes, strict=True)}, content


def _sample(config: TrainConfig, state: RunState) -> np.ndarray:
    """Draws validation rows for the deletion curve: int64[rows], ascending."""
    lengths = state.tokens["validation"].lengths
    order = np.random.default_rng(config.seed).permutation(len(lengths))[:CURVE_TEXTS]
    within = np.cumsum(lengths[order]) <= max(CURVE_TOKENS, lengths[order[0]])
    return np.sort(order[within])
