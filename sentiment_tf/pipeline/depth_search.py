"""--trainable_layers=auto: find the cheapest depth that is nearly as good as the best.

`plan` decides what to try next from a table of what was tried; `search` trains, records and restores.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sentiment_tf.config import TrainConfig, at_depth
from sentiment_tf.distributed import collectives
from sentiment_tf.errors import NoRoomError, UserError
from sentiment_tf.pipeline import fine_tuning, setup
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.reporting import formatting, summary
from sentiment_tf.system import disk

DECISIONS = "depths.json"  # beside the checkpoints
ROUNDING = 1e-9  # of accuracies that differ by the tolerance itself

log = logging.getLogger("sentiment_tf")


class Trial(NamedTuple):
    """A row of the table: a depth that was trained, or skipped for one of two reasons.

    accuracy: On the validation split, a share; None if the depth was skipped.
    seconds: Training time, without the frozen layers.
    """

    depth: int
    accuracy: float | None = None
    seconds: float = 0.0
    epochs: int = 0
    no_time: str | None = None
    no_room: str | None = None


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that a search knows before it trains.

    features: Spent before the search on the features of the head and of the depths that `shared` names.
    frozen_block: A forward pass of the training and validation rows through one frozen block.
    train_block: The same for the training rows alone.
    """

    features: float
    frozen_block: float
    train_block: float


@dataclasses.dataclass(frozen=True)
class Limits:
    """What bounds a search.

    blocks: Blocks of the model.
    first: Depths that are tried first, ascending; the last is the deepest allowed.
    cached: Depths whose features are computed before the search.
    tolerance: Accuracy given up for a cheaper depth, a share.
    time_budget: Minutes for the search, or None.
    epochs: Epochs of each depth with trained blocks, at most.
    """

    blocks: int
    first: Sequence[int]
    cached: Sequence[int]
    tolerance: float
    time_budget: float | None
    epochs: int

    @classmethod
    def of(cls, config: TrainConfig, blocks: int) -> "Limits":
        """Returns the limits that the settings give a search over a model of so many blocks."""
        cached = [0, *(shared(config, blocks) if config.cache == "on" else [])]
        first = first_depths(config, blocks)
        return cls(blocks, first, cached, config.accuracy_tolerance / 100, config.time_budget, config.epochs)


def first_depths(config: TrainConfig, deepest: int) -> list[int]:
    """Returns the depths that a search tries first: the head, one block, and the deepest allowed.

    Without --time_budget the deepest allowed is all blocks but one, and no other depths are tried: three epochs of
    training every block take longer than these three together.
    """
    return sorted({0, min(1, deepest), deepest if config.time_budget else max(deepest - 1, min(1, deepest))})


def shared(config: TrainConfig, deepest: int) -> list[int]:
    """Returns the depths whose features the forward pass for the head computes on its way."""
    return [depth for depth in first_depths(config, deepest) if 0 < depth < deepest]


def plan(table: Sequence[Trial], limits: Limits, costs: Costs) -> Trial | None:
    """Decides what to try next.

    First the head and one block. If the block gains more than the tolerance, the deepest depth allowed: it shows how
    good the model can get. Then, with a time budget, the gap below the cheapest good depth is halved until none is
    left. A depth for which there is no time is skipped, and something shallower may follow.

    Args:
      table: What was tried, in that order.
      limits: Bounds of the search.
      costs: Known times.

    Returns:
      The next depth, with a reason if there is no time for it; None at the end of the search.
    """
    trained = _trained(table)
    depth = _next_depth(table, trained, limits) if trained else 0
    return None if depth is None else Trial(depth, no_time=_no_time(depth, trained, limits, costs))


def good(table: Sequence[Trial], *, tolerance: float) -> list[Trial]:
    """Returns the trials whose accuracy is within ``tolerance`` of the best, the cheapest first."""
    trained = _trained(table)
    best = max(trial.accuracy for trial in trained)
    return [trial for trial in trained if trial.accuracy >= best - tolerance - ROUNDING]


def _trained(table: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that were trained, by depth."""
    return sorted(trial for trial in table if trial.accuracy is not None)


def _next_depth(table: Sequence[Trial], trained: list[Trial], limits: Limits) -> int | None:
    top, last = trained[-1].depth, table[-1]
    deepest = min([limits.first[-1], *(trial.depth - 1 for trial in table if trial.no_time)])
    # Other depths need as much room for their features, but for all blocks, which have none.
    shallowest = limits.blocks if any(trial.no_room for trial in table) else 1
    if deepest < shallowest or (last.accuracy is None and (not limits.time_budget or last.depth < top)):
        return None
    gains = len(trained) == 1 or trained[-1].accuracy - trained[-2].accuracy >= limits.tolerance
    if top < deepest and gains:
        return deepest if top else shallowest
    cheapest = good(trained, tolerance=limits.tolerance)[0].depth
    below = max((trial.depth for trial in trained if trial.depth < cheapest), default=cheapest)
    return (below + cheapest) // 2 if cheapest - below > 1 else None


def _no_time(depth: int, trained: list[Trial], limits: Limits, costs: Costs) -> str | None:
    """Returns why there is no time for a depth, or None. The head is never skipped."""
    minutes = limits.time_budget
    if not minutes:
        allowed = ", ".join(map(str, limits.first))
        return None if depth in limits.first else f"without --time_budget no more than {allowed} are tried"
    depths = [depth, *(trial.depth for trial in trained)]
    frozen_blocks = sum(limits.blocks - other for other in depths if other not in limits.cached)
    spent = costs.features + frozen_blocks * costs.frozen_block + sum(trial.seconds for trial in trained)
    if trained and spent >= 60 * minutes:
        return f"it would begin after --time_budget={minutes} minutes"
    if depth <= 1:
        return None
    # The last block is computed for [CLS] alone, so depth 1 says little about the others: at least a forward pass and
    # a backward pass of twice its time per block.
    epochs = min(trained[-1].epochs, limits.epochs)  # a solved head has epochs of its own kind
    expected = spent + _extrapolate(trained, depth, least=3 * epochs * costs.train_block)
    if expected <= 60 * minutes:
        return None
    return f"the search would take {expected / 60:.1f} of --time_budget={minutes} minutes"


def _extrapolate(trained: list[Trial], depth: int, *, least: float) -> float:
    """Returns the seconds of a depth on the line through the two trained depths around it, or the deepest two.

    Beyond the deepest trained depth, each block takes ``least`` or more.
    """
    if len(trained) == 1:
        return trained[0].seconds + least * (depth - trained[0].depth)
    after = next((place for place, trial in enumerate(trained) if trial.depth >= depth), len(trained) - 1)
    low, high = trained[max(after, 1) - 1], trained[max(after, 1)]
    slope = (high.seconds - low.seconds) / (high.depth - low.depth)
    return high.seconds + (max(slope, least) if depth > high.depth else slope) * (depth - high.depth)


def search(
    config: TrainConfig, state: RunState, head: Trainable, *, features_seconds: float, callbacks: Callable[[str], list]
) -> tuple:
    """Trains the depths that `plan` asks for, each from the same pretrained weights, and keeps the cheapest good one.

    Args:
      config: Its trainable_layers is "auto".
      state: What the run starts from.
      head: The features and the trainable layers at depth 0, whose forward pass also made the features of `shared`.
      features_seconds: Time that this took the run; little if they were in the cache.
      callbacks: Makes the Keras callbacks of a training of this name.

    Returns:
      (setup.Trainable of the chosen depth, its weights in the model; its epochs' rows; run.json's rows of the depths
      that were trained; those of the depths that were skipped).
    """
    model, limits = state.model, Limits.of(config, state.model.config.num_hidden_layers)
    pretrained, decisions = model.get_weights(), _Decisions(state, head, features_seconds)
    table, kept = [], {}
    while trial := plan(table, limits, decisions.costs):
        if not trial.no_time:
            model.set_weights(pretrained)
            trial, history = _try(config, state, head, trial.depth, decisions, callbacks)
        table.append(trial)
        if reason := trial.no_time or trial.no_room:
            log.info("  depth %d is skipped: %s", trial.depth, reason)
            continue
        seconds = _seconds(trial, limits, decisions.costs)
        log.info("  depth %d: validation accuracy %.2f %% in %.1f s", trial.depth, 100 * trial.accuracy, seconds)
        kept[trial.depth] = (history, model.get_weights())
        kept = {other.depth: kept[other.depth] for other in good(table, tolerance=limits.tolerance)}
    chosen, (history, weights) = next(iter(kept.items()))
    model.set_weights(weights)
    rows, skipped = _rows(table, limits, decisions.costs, chosen)
    log.info("\n%s\n", _report(rows))
    if chosen:
        head = setup.freeze(at_depth(config, chosen), state, chosen, only=fine_tuning.scored_splits(state))
    return head, history, rows, skipped


def _try(
    config: TrainConfig, state: RunState, head: Trainable, depth: int, decisions: "_Decisions", callbacks: Callable
) -> tuple[Trial, list[dict]]:
    """Trains a depth; a training that a killed run had begun or ended is continued from its checkpoint.

    Its features are freed on return, so that those of two depths are never in memory together.

    Returns:
      (its row of the table; its epochs' rows, none if the disk has no room for its features).
    """
    at = head if depth == 0 else decisions.freeze(config, depth)
    if isinstance(at, str):
        return Trial(depth, no_room=at), []
    name = f"depth-{depth}"
    history = fine_tuning.fit(at_depth(config, depth), state, at, name=name, callbacks=callbacks(name))
    # The epochs' own times are the same before and after a kill; workers must agree on when to stop.
    seconds = collectives.broadcast(state.strategy, sum(row["seconds"] for row in history))
    accuracy = fine_tuning.kept_epoch(at_depth(config, depth), history)["val_accuracy"]
    return Trial(depth, accuracy, seconds, len(history)), history


class _Decisions:
    """What cannot be measured again after a kill: the costs, and which features had room.

    Everything else that `plan` uses is in the epochs' rows, which the checkpoints keep. Workers use the chief's.
    """

    def __init__(self, state: RunState, head: Trainable, features_seconds: float):
        blocks = state.model.config.num_hidden_layers
        block = {split: head.features[split].seconds / blocks for split in setup.TRAINING_SPLITS}
        costs = Costs(features_seconds, sum(block.values()), block["train"])
        begun = {"costs": dataclasses.asdict(costs), "no_room": {}}
        decided = collectives.broadcast(state.strategy, _read(state.checkpoints) or begun)
        self.costs = Costs(**decided["costs"])
        self._no_room: dict[str, str | None] = decided["no_room"]  # depth → reason, or None if there was room
        self._prepared = state
        self._write()

    def freeze(self, config: TrainConfig, depth: int) -> Trainable | str:
        """Returns what is trained at a depth with its features, or why the disk has no room for them.

        Raises:
          NoRoomError: There was room before a kill; what has been trained is not given up for lack of it.
        """
        if reason := self._no_room.get(str(depth)):
            return reason
        at: Trainable | str
        try:
            at = setup.freeze(at_depth(config, depth), self._prepared, depth, only=setup.TRAINING_SPLITS)
        except NoRoomError as error:
            if str(depth) in self._no_room:
                raise
            at = str(error)
        self._no_room[str(depth)] = at if isinstance(at, str) else None
        self._write()
        return at

    def _write(self) -> None:
        if folder := self._prepared.checkpoints:
            folder.mkdir(parents=True, exist_ok=True)
            content = json.dumps({"costs": dataclasses.asdict(self.costs), "no_room": self._no_room})
            disk.atomic_write(folder / DECISIONS, lambda file: file.write(content.encode()))


def _read(checkpoints: Path | None) -> dict | None:
    """Returns what a killed run's search decided, or None.

    Raises:
      UserError: It was written by another version of this program.
    """
    if not checkpoints or not (checkpoints / DECISIONS).exists():
        return None
    decided = json.loads((checkpoints / DECISIONS).read_text())
    if decided.keys() != {"costs", "no_room"}:
        raise UserError(
            f"{checkpoints.parent}: an unfinished depth search of another version of this program is there; "
            "delete this folder to start afresh"
        )
    return decided


def _seconds(trial: Trial, limits: Limits, costs: Costs) -> float:
    return costs.frozen_block * (limits.blocks - trial.depth) + trial.seconds


def _rows(table: list[Trial], limits: Limits, costs: Costs, chosen: int) -> tuple[list[dict], list[dict]]:
    """Returns run.json's rows of the depths that were trained, and of those that were skipped.

    ``seconds`` is what a depth would take alone: the frozen layers and training.
    """
    rows = [
        {
            "trainable_layers": trial.depth,
            "accuracy": trial.accuracy,
            "seconds": _seconds(trial, limits, costs),
            "training_seconds": trial.seconds,
            "epochs": trial.epochs,
            **({"chosen": True} if trial.depth == chosen else {}),
        }
        for trial in _trained(table)
    ]
    skipped = [
        {"trainable_layers": trial.depth, "reason": trial.no_time or trial.no_room}
        for trial in table
        if trial.accuracy is None
    ]
    return rows, skipped


def _report(rows: list[dict]) -> str:
    cells = [
        [
            str(row["trainable_layers"]),
            formatting.value("accuracy", row["accuracy"]),
            formatting.duration(row["seconds"]),
            "chosen" if row.get("chosen") else "",
        ]
        for row in rows
    ]
    return summary.aligned([["blocks trained", "validation accuracy", "time", ""], *cells])
