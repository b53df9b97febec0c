"""How long a run would take: token slots (tokens and padding) are counted, the time per slot comes from timed steps."""

import dataclasses
import time

import numpy as np
import tf_keras as keras

from sentiment_tf.config import TrainConfig, head_learning_rate
from sentiment_tf.data import batching
from sentiment_tf.data.registry import Depth
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.modeling import features, frozen
from sentiment_tf.pipeline import fine_tuning, setup
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.training import fitting

SAMPLED_TOKENS, SAMPLED_SECONDS = 4_096, 0.3  # for features: of the first sample; between the last two, at least
TIMED_SECONDS, TIMED_STEPS = 4.0, 4  # of training after the first step, in which TensorFlow compiles; both at least
EVALUATION_SHARE = 1 / 3  # of a training step's time: a forward pass, without the backward pass of twice its time

# Export and report are not timed. Saving, and loading the result in a fresh process, take a measured multiple of
# TensorFlow's start-up time; the texts are those that the export is warmed up and compared with.
EXPORT_STARTS, EXPORT_TEXTS, REPORT_STARTS = 6.0, 1_000, 1.0


# Seconds that a solved head takes for each number in the features, on two cores; it compiles nothing.
SOLVED_VALUE = 5e-7


def estimate(config: TrainConfig, state: RunState, depth: Depth, *, start: float) -> dict[str, float]:
    """Returns the seconds of a run's steps by their names in run.json, as if no features were in the cache.

    Args:
      config: The run's settings.
      state: What the run starts from; its model's weights change.
      depth: How much of the model is trained.
      start: Seconds that TensorFlow took to start.
    """

    def evaluation(split: str) -> float:
        plan = batching.evaluation_plan(inputs[split].lengths, batch_size=fitting.EVALUATION_BATCH)
        return EVALUATION_SHARE * training_slot * sum(token_slots(inputs[split], plan))

    inputs = {split: _stand_in(config, state, tokens, depth) for split, tokens in state.tokens.items()}
    frozen_once, frozen_slot = time_features(config, state, depth)
    training_once, training_slot = time_training(config, state, depth, inputs)
    reported = {split: evaluation(split) for split in ("validation", state.splits.report_split)}
    epoch = training_slot * sum(token_slots(inputs["train"], _training_plan(config, inputs["train"], epoch=0)))
    text = sum(reported.values()) / sum(len(inputs[split]) for split in reported)
    text += frozen_slot * float(state.tokens["train"].lengths.mean())
    return {
        "features": sum(
            frozen_once
            + frozen_slot * frozen.token_slots(tokens.lengths, config.max_length, state.frozen_dtype_of(split))
            for split, tokens in state.tokens.items()
        ),
        "evaluate_before": sum(reported.values()),
        "train": SOLVED_VALUE * inputs["train"].values.size
        if depth == 0 and config.head == "solve"
        else training_once + config.epochs * (epoch + reported["validation"]),
        "evaluate_after": sum(reported.values()),
        "export": EXPORT_STARTS * start + EXPORT_TEXTS * text,
        "report": REPORT_STARTS * start,
    }


def has_frozen_blocks(state: RunState, depth: Depth) -> bool:
    """Returns whether there are blocks below the trained ones."""
    return depth != "all" and depth < state.model.config.num_hidden_layers


def time_features(config: TrainConfig, state: RunState, depth: Depth) -> tuple[float, float]:
    """Returns the seconds once and per token slot: the line through a sample and a quarter of it.

    Samples grow until the time between two can be seen: else a small model's slots would be timed by noise.
    """
    if not has_frozen_blocks(state, depth):
        return 0.0, 0.0
    settings = {"compute_dtype": state.frozen_dtype, "max_length": config.max_length, "cache_dir": None}
    total, slots, seconds = SAMPLED_TOKENS, [], []
    while len(slots) < 2 or (slots[-1] > slots[-2] and seconds[-1] - seconds[-2] < SAMPLED_SECONDS):
        tokens, began = sample(state.tokens["train"], total), time.perf_counter()
        features.compute(state.model, {"sample": tokens}, depth=depth, **settings)
        seconds.append(time.perf_counter() - began)
        slots.append(frozen.token_slots(tokens.lengths, config.max_length, state.frozen_dtype))
        total *= 4
    if slots[-1] == slots[-2]:  # all texts
        return 0.0, seconds[-1] / slots[-1]
    slope = (seconds[-1] - seconds[-2]) / (slots[-1] - slots[-2])
    return max(seconds[-1] - slope * slots[-1], 0.0), slope


def time_training(config: TrainConfig, state: RunState, depth: Depth, inputs: dict) -> tuple[float, float]:
    """Returns the seconds before the end of the first step (or steps run at once), and per token slot of the next."""

    def note(batch, logs):
        ends.append((int(layers.optimizer.iterations.numpy()), time.perf_counter()))
        layers.stop_training = len(ends) > TIMED_STEPS and ends[-1][1] - ends[0][1] > TIMED_SECONDS

    layers, ends = setup.make_trainable(config, state, depth), []  # ends: how many steps were done, and when
    few = sample(state.tokens["validation"], 1)  # for the validation after each epoch
    labels = state.labels | {"validation": state.labels["validation"][: len(few.lengths)]}
    epochs = -(-(TIMED_STEPS + 1) * fitting.HEAD_STEPS_AT_ONCE * config.batch_size // len(labels["train"]))
    rate = config.learning_rate or head_learning_rate(config)
    began = time.perf_counter()
    fine_tuning.fit(
        dataclasses.replace(config, head="sgd", epochs=epochs, learning_rate=rate, early_stopping_patience=None),
        dataclasses.replace(state, labels=labels),
        Trainable(layers, inputs | {"validation": _stand_in(config, state, few, depth)}),
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
    )
    plans = [_training_plan(config, inputs["train"], epoch=epoch) for epoch in range(epochs)]
    slots = token_slots(inputs["train"], np.concatenate(plans))
    (first, first_end), (last, last_end) = ends[0], ends[-1]
    slot = (last_end - first_end) / sum(slots[first:last])
    return max(first_end - began - slot * sum(slots[:first]), 0.0), slot


def token_slots(inputs, plan: np.ndarray) -> list[int]:
    """Returns the token slots of each batch of a plan; at depth 0, a constant number for each text."""
    lengths, batches = inputs.lengths, [batch[batch != batching.PAD_ROW] for batch in plan]
    widths = [batching.padded_width(lengths[batch], inputs.most, least=inputs.least) for batch in batches]
    return [len(batch) * width for batch, width in zip(batches, widths, strict=True)]


def sample(tokens: Tokens, total: int) -> Tokens:
    """Returns texts of about ``total`` tokens together, evenly spaced in the order of length; at least one."""
    lengths = tokens.lengths
    count = int(np.clip(total / max(lengths.mean(), 1), 1, len(lengths)))
    rows = np.argsort(lengths, kind="stable")[np.linspace(0, len(lengths) - 1, count).astype(int)]
    ids = np.concatenate([tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]] for row in rows])
    return Tokens(ids, np.cumsum([0, *lengths[rows]]), tokens.truncated[rows])


def _stand_in(config: TrainConfig, state: RunState, tokens: Tokens, depth: Depth):
    """Returns features of these texts: their ids, or zeros, which cost the same arithmetic and take no memory."""
    values, offsets = tokens.ids, None if depth == 0 else tokens.offsets
    if depth != "all" and has_frozen_blocks(state, depth):
        shape, dtype = features.layout(state.model, tokens, depth)
        values = np.broadcast_to(np.zeros((), dtype), shape)
    return features.Features(values, offsets, config.max_length, config.least_width)


def _training_plan(config: TrainConfig, inputs, *, epoch: int) -> np.ndarray:
    return batching.training_plan(inputs.lengths, batch_size=config.batch_size, seed=config.seed, epoch=epoch)
