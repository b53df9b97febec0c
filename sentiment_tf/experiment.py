"""The story of a run: data, tokens, features, evaluate, train, evaluate, export, report."""

import contextlib
import dataclasses
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash

from sentiment_tf import disk, runtime
from sentiment_tf.config import OF_ONE_MACHINE, TrainConfig, head_learning_rate
from sentiment_tf.data import batching, datasets, tokenization
from sentiment_tf.errors import UserError
from sentiment_tf.reporting import calibration, summary
from sentiment_tf.run_directory import RunDirectory
from sentiment_tf.training import cluster

# --stages trains the head until it has converged; from the cache, fifty epochs take seconds.
HEAD_EPOCHS = 50
HEAD_PATIENCE = 5

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
      directory: where it stands.
      record: the content of its run.json.
    """

    directory: Path
    record: dict


class Clock:
    """Times the steps of a run and says each in one log line."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Times what happens inside; strings appended to the yielded list are said beside the time."""
        began, said = time.perf_counter(), []
        yield said
        self.seconds[name] = time.perf_counter() - began
        log.info("%-16s %6.1f s  %s", name.replace("_", " "), self.seconds[name], "; ".join(said))


def run(config: TrainConfig) -> RunResult | None:
    """Does everything that ``python -m sentiment_tf.train`` does; None where the run was finished before.

    Args:
      config: validated and resolved.

    Raises:
      UserError: a mistake in settings or data, a full disk, or training diverged. Once there is a
        checkpoint, the unfinished run stays and the same config goes on with it; else nothing is left behind.
    """
    directory = RunDirectory(config.output_dir, config.run_name)
    workers = cluster.from_environment(config.strategy)
    if workers and not workers.is_chief:
        return _assist(config, directory, workers)
    with directory.locked(), _full_disk_told(config, directory):
        if directory.is_finished(config):
            log.info("%s is finished; pass --overwrite to train it again", directory.final)
            _say_what_next(directory)
            return None
        try:
            directory.begin(config)
            clock = Clock()
            with cluster.loss_of_a_worker_told(workers):
                prepared = prepare(config, clock, checkpoints=directory.checkpoints)
                outcome = _train(config, prepared, directory, clock)
            record = _leave_behind(config, prepared, outcome, directory, clock)
            directory.complete()
        except BaseException:
            if not directory.has_checkpoints():
                directory.discard()
            raise
        _part(prepared)
    _say_result(record, directory)
    return RunResult(directory.final, record)


def _assist(config: TrainConfig, directory: RunDirectory, workers: cluster.Cluster) -> None:
    """Does the share of a worker that is not the chief, which says and writes everything; what it writes vanishes."""
    if directory.is_finished(config, recover=False):  # where it sees the chief's folder
        return
    log.setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sentiment_tf-") as own:
        directory = RunDirectory(own, config.run_name)
        directory.building.mkdir()
        with _full_disk_told(config, directory), cluster.loss_of_a_worker_told(workers):
            prepared = prepare(config, Clock(), checkpoints=directory.checkpoints)
            _train(config, prepared, directory, Clock())
            _part(prepared, told=True)


def _part(prepared: "Prepared", *, told: bool = False) -> None:
    """Ends together with the other workers, after the chief has left the whole run behind.

    Args:
      prepared: of the run.
      told: whether it is an error when the chief does not come to this place.
    """
    from sentiment_tf.training import exchange

    (exchange.meet if told else exchange.part)(prepared.strategy)
    exchange.part(prepared.strategy)


@contextlib.contextmanager
def _full_disk_told(config: TrainConfig, directory: RunDirectory) -> Iterator[None]:
    """Turns whatever a library raises on a full disk into one line."""
    try:
        yield
    except Exception as error:
        if disk.is_full(error):
            raise UserError(_no_space(config, directory, error)) from error
        raise


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    splits: datasets.Splits
    labels: dict[str, np.ndarray]  # split → int32[rows]
    tokens: dict[str, tokenization.Tokens]
    tokenizer: object
    files: object  # modeling.classifier.ModelFiles
    strategy: object  # tf.distribute.Strategy
    model: object  # TFDistilBertForSequenceClassification
    compute_dtype: object  # tf.DType of the matmuls
    checkpoints: Path | None  # a folder per training; None keeps none


@dataclasses.dataclass(frozen=True)
class Cut:
    """The model cut at a depth."""

    tail: object  # modeling.classifier.Tail
    features: dict  # split → modeling.features.Features


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What training did: float32[rows, classes] logits, by split, before and after, and the epochs' rows."""

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    history: list[dict[str, float]]
    depths: list[dict]  # what the depth search tried; empty without one
    trained_parameters: int


def prepare(config: TrainConfig, clock: Clock, *, checkpoints: Path | None = None) -> Prepared:
    """Data → tokens → model."""
    with clock.step("data") as said:
        splits = _load_splits(config)
        said += [f"{len(rows):,} {split}" for split, rows in splits.rows.items()]
    for note in splits.notes:
        log.info("  %s", note)
    labels = {split: datasets.label_array(rows).astype(np.int32) for split, rows in splits.rows.items()}

    with clock.step("start"):  # after the data: a mistake there is told before TensorFlow loads
        runtime.start(deterministic=config.deterministic)
        from sentiment_tf.modeling import classifier
        from sentiment_tf.training import distribution

    with clock.step("tokens") as said:
        files = classifier.find_model(
            config.model, revision=config.model_revision, cache_dir=config.cache_dir, offline=config.offline
        )
        _check_against_model(config, classifier.read_config(files, config.model))
        tokenizer = tokenization.load_tokenizer(files.directory)
        tokens = {
            split: tokenization.tokenize(tokenizer, rows["text"], max_length=config.max_length)
            for split, rows in splits.rows.items()
        }
        said += [_truncation(split, tokens[split], config.max_length) for split in tokens]

    with clock.step("model") as said:
        strategy = distribution.make_strategy(
            config.strategy, batch_size=config.batch_size, startup_timeout=config.startup_timeout
        )
        compute_dtype = distribution.compute_dtype(config.precision)
        with strategy.scope():
            model = classifier.load_classifier(
                files, label_names=splits.label_names, name=config.model, seed=config.seed
            )
        said.append(f"{config.model}: {model.config.n_layers} blocks; matmuls in {compute_dtype.name}")
    return Prepared(splits, labels, tokens, tokenizer, files, strategy, model, compute_dtype, checkpoints)


def cut(config: TrainConfig, prepared: Prepared, depth: int | None, *, also: Sequence[int] = ()) -> Cut:
    """Cuts the model under its top ``depth`` blocks (None: under everything) and runs what is below, once.

    On its way it keeps what the depths of ``also`` need (see `modeling.features.compute`).
    """
    from sentiment_tf.modeling import features

    tail = make_tail(config, prepared, depth)
    of_split = {
        split: features.compute(
            prepared.model,
            tokens,
            depth=depth,
            compute_dtype=prepared.compute_dtype,
            max_length=config.max_length,
            cache_dir=config.cache_dir if config.cache == "on" else None,
            name=split,
            strategy=prepared.strategy,
            least_width=config.least_width,
            also=also,
        )
        for split, tokens in prepared.tokens.items()
    }
    return Cut(tail, of_split)


def make_tail(config: TrainConfig, prepared: Prepared, depth: int | None):
    """Returns the modeling.classifier.Tail above the cut; nothing is computed."""
    from sentiment_tf.modeling import classifier

    strategy = prepared.strategy
    with strategy.scope():
        parts = runtime.parts(config.batch_size // strategy.num_replicas_in_sync)
        return classifier.Tail(
            prepared.model, depth=depth, compute_dtype=prepared.compute_dtype, seed=config.seed, parts=parts
        )


def _train(config: TrainConfig, prepared: Prepared, directory: RunDirectory, clock: Clock) -> Outcome:
    """Evaluates, trains, evaluates again, on the same rows; every worker of a distributed run does this."""
    from sentiment_tf import depth_search
    from sentiment_tf.reporting import tensorboard
    from sentiment_tf.training import exchange

    fingerprints = _fingerprints(prepared)
    directory.begin_training(config, fingerprints)
    flags = {f"--{name}": value for name, value in dataclasses.asdict(config).items() if name not in OF_ONE_MACHINE}
    exchange.check_same(prepared.strategy, fingerprints | flags | {"matmuls": prepared.compute_dtype.name})
    reported = prepared.splits.report_split
    labels = prepared.labels[reported]
    callbacks = [tensorboard.Curves(directory.building / "logs", batch_size=config.batch_size)]
    if config.profiled_steps:
        first, last = config.profiled_steps
        callbacks.append(tensorboard.Profile(directory.building / "logs", first=first, last=last))
    with clock.step("features") as said:
        if config.trainable_layers == "auto":
            at = cut(config, prepared, 0, also=depth_search.prefixes(prepared.model, 0))
        else:
            at = cut(config, prepared, config.depth)
        said.append(_padding(config, at.features["train"]))
    with clock.step("evaluate_before") as said:
        before = predict_splits(prepared, at)
        said.append(_headline(before[reported], labels, reported))
    with clock.step("train") as said:
        depths: list[dict] = []
        if config.trainable_layers == "auto":
            features_seconds = clock.seconds["features"]
            at, history, depths = depth_search.search(
                config, prepared, features_seconds=features_seconds, callbacks=callbacks
            )
        else:
            if config.stages:
                _fit_head(config, prepared)
            history = fit(config, prepared, at, callbacks=callbacks)
        rate = len(prepared.labels["train"]) * len(history) / sum(row["seconds"] for row in history)
        said.append(f"{len(history)} epochs, {rate:,.0f} texts/s")
    with clock.step("evaluate_after") as said:
        after = predict_splits(prepared, at)
        said.append(_headline(after[reported], labels, reported))
    trained = sum(int(np.prod(variable.shape)) for variable in at.tail.trainable_variables)
    return Outcome(before, after, history, depths, trained)


def fit(
    config: TrainConfig, prepared: Prepared, at: Cut, *, name: str = "train", callbacks=()
) -> list[dict[str, float]]:
    """Compiles and trains the tail as the config says; returns the epochs' rows.

    A training of this ``name`` that a killed run had begun goes on; one that it had ended is not repeated.
    """
    from sentiment_tf.training import fitting

    labels = prepared.labels
    fitting.compile_tail(
        at.tail,
        learning_rate=config.learning_rate,
        steps=fitting.steps_per_epoch(len(labels["train"]), config.batch_size) * config.epochs,
        warmup_ratio=config.warmup_ratio,
        schedule=config.schedule,
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
        label_smoothing=config.label_smoothing,
        loss_scaling=prepared.compute_dtype.name == "float16",
    )
    balanced = config.class_weight == "balanced"
    return fitting.fit(
        at.tail,
        at.features["train"],
        labels["train"],
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        validate=lambda: fitting.loss_and_accuracy(
            fitting.predict_logits(at.tail, at.features["validation"]), labels["validation"]
        ),
        callbacks=callbacks,
        verbose=int(sys.stdout.isatty() and log.isEnabledFor(logging.INFO)),
        class_weights=fitting.balanced_weights(labels["train"], len(prepared.splits.label_names)) if balanced else None,
        patience=config.early_stopping_patience,
        checkpoints=prepared.checkpoints / name if prepared.checkpoints else None,
        checkpoint_every=config.checkpoint_every,
    )


def _fit_head(config: TrainConfig, prepared: Prepared) -> None:
    """The first of two stages: the head alone, to convergence."""
    head_only = dataclasses.replace(
        config,
        epochs=HEAD_EPOCHS,
        learning_rate=head_learning_rate(config),
        early_stopping_patience=HEAD_PATIENCE,
    )
    history = fit(head_only, prepared, cut(config, prepared, 0), name="head")
    best = max(row["val_accuracy"] for row in history)
    log.info("  head first: %d epochs, validation accuracy %.2f %%", len(history), 100 * best)


def predict_splits(prepared: Prepared, at: Cut) -> dict[str, np.ndarray]:
    """Returns float32[rows, classes] of the validation split and of the split that is reported on."""
    from sentiment_tf.training import fitting

    splits = {"validation", prepared.splits.report_split}
    return {split: fitting.predict_logits(at.tail, at.features[split]) for split in splits}


def _leave_behind(
    config: TrainConfig, prepared: Prepared, outcome: Outcome, directory: RunDirectory, clock: Clock
) -> dict:
    """Writes everything a run leaves into ``directory.building``; returns the content of run.json."""
    from sentiment_tf import artifacts

    temperature = 1.0
    if config.calibrate == "on":
        temperature = calibration.fit_temperature(outcome.after["validation"], prepared.labels["validation"])
    with clock.step("export") as said:
        exported = artifacts.export(config, prepared, directory, temperature=temperature)
        said.append(f"largest difference from the trained model {exported['largest_difference']:.1e}")
    with clock.step("report"):
        record = artifacts.describe(config, prepared, outcome, temperature=temperature)
        record |= {"export": exported, "times": clock.seconds}
        artifacts.write(config, prepared, outcome, record, directory.building)
    return record


def _load_splits(config: TrainConfig) -> datasets.Splits:
    return datasets.load(
        dataset=config.dataset,
        data_dir=config.data_dir,
        train_file=config.train_file,
        validation_file=config.validation_file,
        test_file=config.test_file,
        text_column=config.text_column,
        label_column=config.label_column,
        offline=config.offline,
        revision=config.dataset_revision,
        seed=config.seed,
        limit=config.limit,
    )


def _check_against_model(config: TrainConfig, model_config) -> None:
    """Checks the settings whose limits only the model knows.

    Raises:
      UserError: with all problems at once.
    """
    problems = []
    if config.max_length > model_config.max_position_embeddings:
        problems.append(
            f"--max_length={config.max_length}: {config.model} has {model_config.max_position_embeddings} positions; "
            f"pass {model_config.max_position_embeddings} or less"
        )
    if (config.depth or 0) > model_config.n_layers:
        problems.append(
            f"--trainable_layers={config.trainable_layers}: {config.model} has {model_config.n_layers} blocks; "
            f"pass 0 to {model_config.n_layers}, or all"
        )
    if problems:
        raise UserError(*problems)


def _fingerprints(prepared: Prepared) -> dict[str, str]:
    """Returns a digest of everything that training starts from and that a setting only names."""
    found = {}
    for split, tokens in prepared.tokens.items():
        labels = xxhash.xxh3_128_hexdigest(prepared.labels[split].tobytes())
        found[f"the {split} rows"] = f"{tokens.fingerprint}-{labels}"
    digest = xxhash.xxh3_128()
    for weight in prepared.model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return found | {"the model's weights": digest.hexdigest()}


def _no_space(config: TrainConfig, directory: RunDirectory, error: BaseException) -> str:
    """Says that a disk is full, in one line."""
    known = "it goes on from its last checkpoint" if directory.has_checkpoints() else "nothing was left behind"
    where = getattr(error, "filename", None) or f"--output_dir={config.output_dir} or --cache_dir={config.cache_dir}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"{where}: no space left ({reason}); make room and run the same command again: {known}"


def _truncation(split: str, tokens: tokenization.Tokens, max_length: int) -> str:
    """Says how many texts of a split were cut."""
    cut, rows = int(tokens.truncated.sum()), len(tokens.truncated)
    return f"{split}: {cut:,} of {rows:,} texts cut at {max_length} tokens"


def _padding(config: TrainConfig, features) -> str:
    """Says how much of the training batches is padding, measured on the first epoch's plan."""
    lengths = features.lengths
    plan = batching.training_plan(lengths, batch_size=config.batch_size, seed=config.seed, epoch=0)
    share = (
        0.0 if features.offsets is None else batching.padding_share(lengths, plan, features.most, least=features.least)
    )
    return f"{share:.1%} of the training batches is padding"


def _headline(logits: np.ndarray, labels: np.ndarray, split: str) -> str:
    from sentiment_tf.training import fitting

    scores = fitting.loss_and_accuracy(logits, labels)
    return f"accuracy {scores['accuracy']:.2%}, loss {scores['loss']:.4f} on {len(labels):,} {split} rows"


def _say_result(record: dict, directory: RunDirectory) -> None:
    """Says the table before/after, what was made and where."""
    columns = {moment: record["metrics"][moment] for moment in ("before", "after")}
    log.info("\n%s\n", summary.table(columns, colour=summary.wants_colour(sys.stdout)))
    made = sorted(path.name + "/" * path.is_dir() for path in directory.final.iterdir())
    log.info("made in %s: %s", directory.final, " ".join(made))
    _say_what_next(directory)


def _say_what_next(directory: RunDirectory) -> None:
    """Says the commands to look at a run and to try it."""
    programs = _where_programs_are()
    log.info("look at it:  %stensorboard --logdir %s", programs, directory.final / "logs")
    log.info('try it:      %spython -m sentiment_tf.predict --model=%s "a text"', programs, directory.final)


def _where_programs_are() -> str:
    """Returns what to put before the name of a program of this environment: nothing, where the shell finds it."""
    here = Path(sys.executable).parent
    if shutil.which("python") == str(here / "python"):
        return ""
    return f"{here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here}/"
