"""The story of a run from its rows on: tokens, features, evaluate, train, evaluate, export, report."""

import dataclasses
import logging

import numpy as np

from sentiment_tf.config import OF_ONE_MACHINE, OF_STEPS, TrainConfig, solves_head
from sentiment_tf.data import batching, loading
from sentiment_tf.distributed import cluster, collectives
from sentiment_tf.evaluation.label_noise import LabelNoise
from sentiment_tf.exporting import manifest
from sentiment_tf.pipeline import depth_search, explanations, exports, fine_tuning, label_audit, outputs, seeds, setup
from sentiment_tf.pipeline.run_directory import RECORD, RunDirectory
from sentiment_tf.pipeline.setup import RunState, Trainable
from sentiment_tf.reporting import tensorboard
from sentiment_tf.system import provenance
from sentiment_tf.system.timing import Clock
from sentiment_tf.training import fitting

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What training did: float32[rows, classes] logits, by split, before and after, and the epochs' rows."""

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    history: list[dict[str, float]]
    depths: list[dict]  # what the depth search tried; empty without one
    skipped: list[dict]  # what it did not try, and why
    seeds: list[dict]  # what --seeds trained; empty for one seed
    label_noise: LabelNoise | None  # among the training rows, where it was looked for
    trained_parameters: int


def run(
    config: TrainConfig,
    splits: loading.Splits,
    directory: RunDirectory,
    clock: Clock,
    *,
    workers: cluster.Cluster | None = None,
) -> None:
    """Does a run from its rows to its complete folder, or the share of a worker that is not the chief.

    Args:
      config: Validated and resolved.
      splits: Rows of each split.
      directory: The run's folder, begun. Files that a worker other than the chief writes there are not kept.
      clock: Times the run's steps.
      workers: The workers of a distributed run; None for one process.
    """
    with collectives.lost_worker_as_user_error(workers):
        state = setup.prepare(config, splits, clock, checkpoints=directory.checkpoints)
        outcome = _train(config, state, directory, clock)
        if workers and not workers.is_chief:
            collectives.barrier(state.strategy)  # an error if the chief does not reach this point
            collectives.final_barrier(state.strategy)
            return
    _export_and_report(config, state, outcome, directory, clock)
    directory.complete()
    # The other workers wait until the whole run is written.
    collectives.final_barrier(state.strategy)
    collectives.final_barrier(state.strategy)


def _train(config: TrainConfig, state: RunState, directory: RunDirectory, clock: Clock) -> Outcome:
    """Evaluates, trains, evaluates again, on the same rows; every worker of a distributed run does this."""
    fingerprints = setup.fingerprints(state)
    directory.begin_training(config, fingerprints)
    flags = {f"--{name}": value for name, value in dataclasses.asdict(config).items() if name not in OF_ONE_MACHINE}
    dtypes = {"matmuls": state.compute_dtype.name, "frozen layers' matmuls": state.frozen_dtype.name}
    collectives.check_same(state.strategy, fingerprints | flags | dtypes)
    reported = state.splits.report_split
    labels = state.labels[reported]

    def callbacks(name: str = "") -> list:
        """Makes what writes a training's curves; those of a depth or a stage stand apart, under its name."""
        logs = directory.building / "logs" / name
        made = [tensorboard.Curves(logs, batch_size=config.batch_size)]
        if config.profiled_steps:
            first, last = config.profiled_steps
            made.append(tensorboard.Profile(logs, first=first, last=last))
        return made

    with clock.step("features") as details:
        if config.trainable_layers == "auto":
            also = depth_search.shared(config, state.model.config.num_hidden_layers)
            at = setup.freeze(config, state, 0, also=also)
        else:
            at = setup.freeze(config, state, config.fixed_depth, also=[0] if config.stages else ())
        details.append(_padding(config, at.features["train"]))
    with clock.step("evaluate_before") as details:
        before = fine_tuning.predict_splits(state, at)
        details.append(_headline(before[reported], labels, reported))
    _log_unused(config)
    with clock.step("train") as details:
        depths, skipped, of_seeds = [], [], []
        if config.trainable_layers == "auto":
            features_seconds = clock.seconds["features"]
            at, history, depths, skipped = depth_search.search(
                config, state, at, features_seconds=features_seconds, callbacks=callbacks
            )
        elif config.seeds > 1:
            at, history, of_seeds = seeds.train(config, state, at, callbacks=callbacks)
        else:
            if config.stages:
                fine_tuning.fit_head(config, state, callbacks=callbacks("head"))
            history = fine_tuning.fit(config, state, at, callbacks=callbacks())
        rate = len(state.labels["train"]) * len(history) / sum(row["seconds"] for row in history)
        details.append(f"{len(history)} epochs, {rate:,.0f} texts/s")
    trained = sum(row["seconds"] for row in history)
    clock.seconds["train"] = max(clock.seconds["train"], trained)  # of a resumed run, with what it was before
    with clock.step("evaluate_after") as details:
        after = fine_tuning.predict_splits(state, at)
        details.append(_headline(after[reported], labels, reported))
    noise = _audit_labels(config, state, at, depths, clock)
    parameters = sum(int(np.prod(variable.shape)) for variable in at.model.trainable_variables)
    return Outcome(before, after, history, depths, skipped, of_seeds, noise, parameters)


def _audit_labels(
    config: TrainConfig, state: RunState, at: Trainable, depths: list[dict], clock: Clock
) -> LabelNoise | None:
    """Returns what is known about the training labels; None where the settings do not ask, and beside the chief."""
    chosen = [row["trainable_layers"] for row in depths if row.get("chosen")]
    depth = chosen[0] if chosen else config.fixed_depth
    if not label_audit.way(config, state, depth):
        return None
    with clock.step("audit_labels") as details:
        found = label_audit.audit(config, state, at, depth)
        if found:
            details.append(f"{found.suspicious.sum():,} of {len(found.scores):,} training labels look wrong")
    return found


def _export_and_report(
    config: TrainConfig, state: RunState, outcome: Outcome, directory: RunDirectory, clock: Clock
) -> None:
    """Writes everything a run leaves into ``directory.building``."""
    temperature = fine_tuning.temperature(config, state, outcome.after)
    chosen = outputs.choose_threshold(config, state, outcome, temperature=temperature)
    threshold = chosen["value"] if chosen else None
    with clock.step("export") as details:
        logits = outcome.after[state.splits.report_split]
        exported = exports.export(config, state, directory, logits, temperature=temperature, threshold=threshold)
        largest = max(row["largest_difference"] for row in exported if row["precision"] == "float32")
        details.append(f"largest difference from the trained model {largest:.1e}")
    rows = outputs.reported_rows(state, outcome, temperature=temperature, threshold=threshold)
    with clock.step("explain") as details:
        model = explanations.load(config, state, temperature=temperature, threshold=threshold)
        words, explained = explanations.explain(config, state, model, rows)
        details.append(f"{explained['texts'] + len(words)} texts")
    with clock.step("report"):
        content = outputs.describe(config, state, outcome, rows, temperature=temperature, threshold=chosen)
        if outcome.label_noise:
            label_audit.write(state, outcome.label_noise, directory.building / label_audit.FILE)
        content |= _export_record(exported) | {"explanations": explained, "times": clock.seconds}
        outputs.write(config, outcome, rows, content, directory.building, words=words)
        manifest.write(directory.building, folders=exports.folders(config, directory))
    provenance.write_json(directory.building / RECORD, content)


def _export_record(rows: list[dict]) -> dict:
    """Returns what run.json says of the exports: a row for each, and the SavedModel's own numbers."""
    saved = {"largest_difference", "bytes", "latency_ms"}
    found = next((row for row in rows if row["format"] == "saved_model"), None)
    export = {"export": {name: found[name] for name in saved}} if found else {}
    return export | {"exports": rows}


def _log_unused(config: TrainConfig) -> None:
    """Says which settings that were passed have no effect."""
    unused = [f"--{name}" for name in OF_STEPS if getattr(config, name) != getattr(TrainConfig, name)]
    if solves_head(config) and unused:
        log.info("  no effect on a solved head: %s; pass --head=sgd to train with them", ", ".join(unused))


def _padding(config: TrainConfig, features) -> str:
    """Says how much of the training batches is padding, measured on the first epoch's plan."""
    plan = batching.training_plan(features.lengths, batch_size=config.batch_size, seed=config.seed, epoch=0)
    return f"{features.padding_share(plan):.1%} of the training batches is padding"


def _headline(logits: np.ndarray, labels: np.ndarray, split: str) -> str:
    scores = fitting.loss_and_accuracy(logits, labels)
    return f"accuracy {scores['accuracy']:.2%}, uncalibrated loss {scores['loss']:.4f} on {len(labels):,} {split} rows"
