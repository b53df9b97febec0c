"""What happens around a run: its folder and lock, its workers, a full disk; and before TensorFlow loads, its rows.

Mistakes in the settings and in the data are reported within seconds, because the modules that load TensorFlow are
imported here, after the rows are read.
"""

import contextlib
import dataclasses
import json
import logging
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentiment_tf.config import TrainConfig, resolve
from sentiment_tf.data import loading
from sentiment_tf.distributed import cluster
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.pipeline import checks
from sentiment_tf.pipeline.run_directory import RECORD, RunDirectory
from sentiment_tf.reporting import formatting, summary
from sentiment_tf.system import disk, runtime
from sentiment_tf.system.timing import Clock
from sentiment_tf.training import head_solver

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
      directory: Its folder.
      record: The content of its run.json.
    """

    directory: Path
    record: dict


def train(config: TrainConfig) -> RunResult | None:
    """Does everything that ``python -m sentiment_tf.train`` does.

    Args:
      config: The settings; what is not set is decided as for the command.

    Returns:
      The finished run, trained now or before; None on a worker that is not the chief.

    Raises:
      UserError: a mistake in settings or data, a full disk, or training diverged. Once there is a
        checkpoint, the unfinished run stays and the same config goes on with it; else nothing is left behind.
    """
    checks.validate(config)
    config = resolve(config)
    directory = RunDirectory(config.output_dir, config.run_name)
    workers = cluster.from_environment(config.strategy)
    if workers and not workers.is_chief:
        _run_as_worker(config, directory, workers)
        return None
    with directory.locked(), _full_disk_as_user_error(config, directory):
        if directory.is_finished(config):
            log.info("%s is finished; pass --overwrite to train it again", directory.final)
            _log_next_commands(directory)
            return _result(directory)
        try:
            directory.begin(config)
            _run(config, directory, workers)
        except BaseException:
            if not directory.has_checkpoints():
                directory.discard()
            raise
    result = _result(directory)
    _log_result(result.record, directory)
    return result


def dry_run(config: TrainConfig) -> str:
    """Describes what a run would work on and need, in lines for a terminal.

    Args:
      config: The settings, as for `train`.

    Raises:
      UserError: A mistake that the run would find, too.
    """
    checks.validate(config)
    config, clock = resolve(config), Clock()
    splits = read(config, clock)
    with _starting_tensorflow(config, clock):
        from sentiment_tf.pipeline import dry_run  # loads TensorFlow
    return dry_run.report(config, splits, clock)


def read(config: TrainConfig, clock: Clock) -> loading.Splits:
    """Returns the rows of each split, checked against the settings.

    Args:
      config: Validated and resolved.
      clock: Times the run's steps.
    """
    with clock.step("data") as said:
        splits = loading.load(config.data, seed=config.seed, limit=config.limit)
        _check_threshold(config, splits.label_names)
        said += [f"{len(rows):,} {split}" for split, rows in splits.rows.items()]
    for note in splits.notes:
        log.info("  %s", note)
    if config.head == "solve" or config.audit_labels in ("head", "deep"):
        head_solver.check_rows(len(splits.rows["train"]))
    return splits


def _check_threshold(config: TrainConfig, label_names: Sequence[str]) -> None:
    for name in ("threshold", "threshold_for"):
        if (value := getattr(config, name)) is not None and len(label_names) != 2:
            raise UserError(f"--{name}={value}: is for two classes; the data has {len(label_names)}; leave it out")


@contextlib.contextmanager
def _starting_tensorflow(config: TrainConfig, clock: Clock) -> Iterator[None]:
    """Times the start of TensorFlow and the block, which imports what needs it."""
    with clock.step("start"):
        runtime.start(deterministic=config.deterministic)
        yield


def _run(config: TrainConfig, directory: RunDirectory, workers: cluster.Cluster | None) -> None:
    clock = Clock()
    splits = read(config, clock)
    with _starting_tensorflow(config, clock):
        from sentiment_tf.pipeline import experiment  # loads TensorFlow
    experiment.run(config, splits, directory, clock, workers=workers)


def _run_as_worker(config: TrainConfig, directory: RunDirectory, workers: cluster.Cluster) -> None:
    """Does the share of a worker that is not the chief, which logs and writes everything; what it writes vanishes."""
    if directory.is_finished(config, recover=False):  # where it sees the chief's folder
        log.info("%s is finished: this worker has nothing to do", directory.final)
        return
    log.setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sentiment_tf-") as own:
        directory = RunDirectory(own, config.run_name)
        directory.building.mkdir()
        with _full_disk_as_user_error(config, directory):
            _run(config, directory, workers)


def _result(directory: RunDirectory) -> RunResult:
    return RunResult(directory.final, json.loads((directory.final / RECORD).read_text(encoding="utf-8")))


@contextlib.contextmanager
def _full_disk_as_user_error(config: TrainConfig, directory: RunDirectory) -> Iterator[None]:
    """Turns whatever a library raises on a full disk into one line."""
    try:
        yield
    except Exception as error:
        if disk.is_full(error):
            raise UserError(_no_space(config, directory, error)) from error
        raise


def _no_space(config: TrainConfig, directory: RunDirectory, error: BaseException) -> str:
    """Says that a disk is full, in one line."""
    known = "it resumes from its last checkpoint" if directory.has_checkpoints() else "nothing was left behind"
    where = getattr(error, "filename", None) or f"--output_dir={config.output_dir} or --cache_dir={config.cache_dir}"
    return f"{where}: no space left ({first_line(error)}); make room and run the same command again: {known}"


def _log_result(content: dict, directory: RunDirectory) -> None:
    """Says the table before/after, whether that may be chance, what was made and where."""
    columns = {moment: content["metrics"][moment] for moment in ("before", "after")}
    log.info("\n%s", summary.table(columns, colour=formatting.wants_colour(sys.stdout)))
    if (temperature := content.get("calibration", {}).get("temperature", 1)) != 1:
        log.info("after: calibrated with a temperature of %.2f, as the exports answer", temperature)
    log.info("\n%s\n", formatting.verdict(content["metrics"]["comparison"]))
    if content.get("seeds"):
        log.info("%s\n", summary.over_seeds(content["seeds"], content["metrics"]["over_seeds"]))
    made = sorted(path.name + "/" * path.is_dir() for path in directory.final.iterdir())
    log.info("made in %s: %s", directory.final, " ".join(made))
    _log_next_commands(directory)


def _log_next_commands(directory: RunDirectory) -> None:
    """Says the commands to look at a run and to try it."""
    programs = _program_prefix()
    logs, model = shlex.quote(str(directory.final / "logs")), shlex.quote(str(directory.final))
    log.info("look at it:  %stensorboard --logdir %s", programs, logs)
    log.info('try it:      %spython -m sentiment_tf.predict --model=%s "a text"', programs, model)


def _program_prefix() -> str:
    """Returns what to put before the name of a program of this environment: nothing, where the shell finds it."""
    here = Path(sys.executable).parent
    if shutil.which("python") == str(here / "python"):
        return ""
    return f"{here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here}/"
