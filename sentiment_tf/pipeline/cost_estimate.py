"""How long a run would take: its parts timed on samples, and scaled to all texts.

The trunk and evaluation run on texts of every length. Training runs the first steps of the very run; the
features below a cut are zeros there, which cost the same arithmetic. The model's weights change: a rehearsal
is the last thing that a process does with them.
"""

import dataclasses
import os
import time

import numpy as np

from sentiment_tf.config import TrainConfig, head_learning_rate
from sentiment_tf.data import batching
from sentiment_tf.data.tokenization import Tokens
from sentiment_tf.pipeline import fine_tuning, setup
from sentiment_tf.pipeline.setup import Prepared

TIMED_SECONDS = 4.0  # of training steps after the first, which TensorFlow compiles
TIMED_STEPS = 4  # at least
SAMPLED_TOKENS = 16_384  # of the trunk and of evaluation

# Export and report are not rehearsed. Saving, and loading the result in a fresh process, cost what starting
# TensorFlow costs, times a number that was measured; the texts are those the export is asked and compared on.
EXPORT_STARTS, EXPORT_TEXTS = 6.0, 1_000
REPORT_STARTS = 1.0


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of a run's parts at one depth: what each costs once, and for each further place of its batches.

    A place is a token or padding; where the tail reads one vector per text, evaluation and training count texts.
    """

    trunk_once: float
    trunk_place: float
    evaluation_once: float
    evaluation_place: float
    training_once: float
    training_place: float


def measure(config: TrainConfig, prepared: Prepared, depth: int | None) -> Pace:
    """Times the parts of a run at one depth.

    Args:
      config: of the run.
      prepared: what the run starts from; its model's weights are changed.
      depth: blocks trained, or None for everything.
    """
    trunk = _time_trunk(config, prepared, depth) if has_trunk(prepared, depth) else (0.0, 0.0)
    tail = setup.make_tail(config, prepared, depth)
    sample = _sample(prepared.tokens["train"], SAMPLED_TOKENS)
    evaluation = _time_evaluation(config, tail, _stand_in(config, prepared, sample, depth))
    return Pace(*trunk, *evaluation, *_time_training(config, prepared, tail, depth))


def between(paces: dict[int, Pace], depth: int) -> Pace:
    """Returns the pace at a depth from those at others: each block takes as long as the next.

    Args:
      paces: 0 (whose tail has no blocks, and so stands alone), 1 and the deepest.
      depth: from 0 to the deepest.
    """
    if depth in paces:
        return paces[depth]
    known = [known for known in sorted(paces) if known > 0]
    fields = zip(*(dataclasses.astuple(paces[known]) for known in known), strict=True)
    return Pace(*(float(np.interp(depth, known, values)) for values in fields))


def estimate(
    config: TrainConfig,
    prepared: Prepared,
    pace: Pace,
    depth: int | None,
    *,
    missing: list[Tokens],
    start: float,
) -> dict[str, float]:
    """Returns the seconds of a run's steps from the features on, by their names in run.json.

    Args:
      config: of the run.
      prepared: what the run starts from.
      pace: at this depth.
      depth: blocks trained, or None for everything.
      missing: see `missing_features`.
      start: seconds that TensorFlow took to start, by which steps that are not rehearsed are judged.
    """
    lengths = {split: _widths_of(tokens, depth) for split, tokens in prepared.tokens.items()}
    places = {split: _evaluation_places(lengths[split], config) for split in lengths}
    reported = {"validation", prepared.splits.report_split}
    evaluation = pace.evaluation_place * sum(places[split] for split in reported)
    validation = config.epochs * pace.evaluation_place * places["validation"]
    training = config.epochs * pace.training_place * sum(_training_places(config, lengths["train"], epochs=1))
    text = evaluation / sum(len(lengths[split]) for split in reported)
    text += pace.trunk_place * float(prepared.tokens["train"].lengths.mean())
    return {
        "features": len(missing) * pace.trunk_once + pace.trunk_place * _trunk_places(config, missing),
        "evaluate_before": pace.evaluation_once + evaluation,
        "train": pace.training_once + training + validation,
        "evaluate_after": evaluation,
        "export": EXPORT_STARTS * start + EXPORT_TEXTS * text,
        "report": REPORT_STARTS * start,
    }


def missing_features(config: TrainConfig, prepared: Prepared, depth: int | None) -> list[Tokens]:
    """Returns the tokens of the splits whose features the run must compute.

    To be asked before `measure`: the cache knows features by the weights that made them.
    """
    from sentiment_tf.modeling import feature_cache

    if not has_trunk(prepared, depth):
        return []
    settings = {"depth": depth, "compute_dtype": prepared.compute_dtype, "cache_dir": config.cache_dir}
    return [
        tokens
        for tokens in prepared.tokens.values()
        if config.cache == "off" or not os.path.exists(feature_cache.folder_of(prepared.model, tokens, **settings))
    ]


def _trunk_places(config: TrainConfig, splits: list[Tokens]) -> int:
    from sentiment_tf.modeling import frozen

    return sum(frozen.token_slots(tokens.lengths, config.max_length) for tokens in splits)


def has_trunk(prepared: Prepared, depth: int | None) -> bool:
    """Returns whether blocks lie below the cut."""
    return depth is not None and depth < prepared.model.config.num_hidden_layers


def _time_trunk(config: TrainConfig, prepared: Prepared, depth: int) -> tuple[float, float]:
    """Returns seconds once and per place, from a sample and a quarter of it."""
    from sentiment_tf.modeling import features, frozen

    places, seconds = [], []
    for sampled in (SAMPLED_TOKENS // 4, SAMPLED_TOKENS):
        tokens = _sample(prepared.tokens["train"], sampled)
        values = np.empty(*features.layout(prepared.model, tokens, depth))
        began = time.perf_counter()
        frozen.run(
            prepared.model,
            tokens,
            {depth: values},
            compute_dtype=prepared.compute_dtype,
            max_length=config.max_length,
            name="sample",
        )
        seconds.append(time.perf_counter() - began)
        places.append(frozen.token_slots(tokens.lengths, config.max_length))
    return _line(places, seconds)


def _time_evaluation(config: TrainConfig, tail, features) -> tuple[float, float]:
    """Returns seconds once (TensorFlow compiles in the first pass) and per place."""
    from sentiment_tf.training import fitting

    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        fitting.predict_logits(tail, features)
        seconds.append(time.perf_counter() - began)
    plan = batching.evaluation_plan(features.lengths, batch_size=fitting.EVALUATION_BATCH)
    return max(seconds[0] - seconds[1], 0.0), seconds[1] / sum(_places(features.lengths, plan, config))


def _time_training(config: TrainConfig, prepared: Prepared, tail, depth: int | None) -> tuple[float, float]:
    """Returns seconds before the end of the first step (or steps run at once), and per place of the next few."""
    import tf_keras as keras

    from sentiment_tf.training import fitting

    ends: list[tuple[int, float]] = []  # steps done, and when

    def tick(batch, logs):
        ends.append((int(tail.optimizer.iterations.numpy()), time.perf_counter()))
        tail.stop_training = len(ends) > TIMED_STEPS and ends[-1][1] - ends[0][1] > TIMED_SECONDS

    steps = -(-len(prepared.labels["train"]) // config.batch_size)
    settings = dataclasses.replace(
        config,
        epochs=-(-(TIMED_STEPS + 1) * fitting.HEAD_STEPS_AT_ONCE // steps),
        learning_rate=config.learning_rate or head_learning_rate(config),
        early_stopping_patience=None,
    )
    tokens = {"train": prepared.tokens["train"], "validation": _sample(prepared.tokens["validation"], 1)}
    features = {split: _stand_in(config, prepared, of_split, depth) for split, of_split in tokens.items()}
    labels = prepared.labels | {"validation": prepared.labels["validation"][: len(features["validation"])]}
    began = time.perf_counter()
    fine_tuning.fit(
        settings,
        dataclasses.replace(prepared, labels=labels),
        setup.Cut(tail, features),
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=tick)],
    )
    places = _training_places(config, features["train"].lengths, epochs=settings.epochs)
    (first, first_end), (last, last_end) = ends[0], ends[-1]
    pace = (last_end - first_end) / sum(places[first:last])
    return max(first_end - began - pace * sum(places[:first]), 0.0), pace


def _stand_in(config: TrainConfig, prepared: Prepared, tokens: Tokens, depth: int | None):
    """Returns features of these texts: the ids themselves, or zeros that take no memory."""
    from sentiment_tf.modeling import features

    if not has_trunk(prepared, depth):
        return features.Features(tokens.ids, tokens.offsets, config.max_length, config.least_width)
    shape, dtype = features.layout(prepared.model, tokens, depth)
    zeros = np.broadcast_to(np.zeros((), dtype), shape)
    return features.Features(zeros, None if depth == 0 else tokens.offsets, config.max_length, config.least_width)


def _sample(tokens: Tokens, total: int) -> Tokens:
    """Returns texts of about ``total`` tokens together, evenly spaced in the order of length; one at least."""
    lengths = tokens.lengths
    count = int(np.clip(total / max(lengths.mean(), 1), 1, len(lengths)))
    rows = np.argsort(lengths, kind="stable")[np.linspace(0, len(lengths) - 1, count).astype(int)]
    ids = np.concatenate([tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]] for row in rows])
    return Tokens(ids, np.cumsum([0, *lengths[rows]]), tokens.truncated[rows])


def _line(places: list[int], seconds: list[float]) -> tuple[float, float]:
    """Returns the seconds at no places and those for each more, from two points; a flat or falling line is none."""
    if places[1] > places[0] and seconds[1] > seconds[0]:
        slope = (seconds[1] - seconds[0]) / (places[1] - places[0])
        return max(seconds[0] - slope * places[0], 0.0), slope
    return 0.0, seconds[1] / places[1]


def _widths_of(tokens: Tokens, depth: int | None) -> np.ndarray:
    """Returns int[texts]: how long the tail's input of each text is."""
    return np.ones(len(tokens.lengths), np.int32) if depth == 0 else tokens.lengths


def _evaluation_places(lengths: np.ndarray, config: TrainConfig) -> int:
    from sentiment_tf.training import fitting

    plan = batching.evaluation_plan(lengths, batch_size=fitting.EVALUATION_BATCH)
    return sum(_places(lengths, plan, config))


def _training_places(config: TrainConfig, lengths: np.ndarray, *, epochs: int) -> list[int]:
    """Returns the places of each step of the first epochs."""
    settings = {"batch_size": config.batch_size, "seed": config.seed}
    plans = [batching.training_plan(lengths, **settings, epoch=epoch) for epoch in range(epochs)]
    return _places(lengths, np.concatenate(plans), config)


def _places(lengths: np.ndarray, plan: np.ndarray, config: TrainConfig) -> list[int]:
    """Returns the places of each batch of a plan; filler rows are computed and count."""
    settings = {"most": config.max_length, "least": config.least_width}
    batches = [batch[batch != batching.FILLER] for batch in plan]
    widths = [batching.padded_width(lengths[batch], **settings) for batch in batches]
    return [plan.shape[1] * width for width in widths]
