"""A scoring job from its settings to a finished output folder.

The folder holds an output file for each fragment, ``_plan.json`` from the beginning and ``_SUCCESS`` at the end. In
between, ``_records`` holds a record of each finished fragment and ``_partial`` what is being written. An output file
exists only if it is whole, so the same command goes on where a killed one stopped.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow.fs

from sentiment_tf.errors import UserError
from sentiment_tf.inference import engines
from sentiment_tf.inference.jobs import model_digest, plan, storage
from sentiment_tf.inference.jobs.fragment import RECORDS, Job
from sentiment_tf.inference.jobs.plan import Fragment, Plan
from sentiment_tf.inference.jobs.storage import Place

PLAN, SUCCESS = "_plan.json", "_SUCCESS"
_READ_AT_ONCE = 16  # records

Progress = Callable[[Fragment, int | dict | None], object]


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """The settings of a scoring job; each is a flag of `sentiment_tf.score`."""

    model: str
    input: str
    output: str
    engine: str = "auto"
    precision: str = "float32"
    input_format: str | None = None
    text_column: str | None = None
    skip_bad_rows: bool = False
    ray_address: str | None = None
    least_workers: int = 1
    most_workers: int | None = None
    stall_timeout: float = 600.0
    startup_timeout: float = 600.0


class Result(NamedTuple):
    """What a finished job wrote: rows answered and left out, and files."""

    rows: int
    bad_rows: int
    files: int


class Opened(NamedTuple):
    """A job whose output folder is ready: what its workers share, its plan, and the settings that identify it."""

    job: Job
    plan: Plan
    settings: dict


def open_job(config: ScoreConfig) -> Opened:
    """Makes the plan and begins the output folder, or reads the plan of the job that it belongs to.

    Raises:
      UserError: A setting, the model, the input or the output folder is not as it must be; nothing has been written.
    """
    engine = engines.choose(config.model, engine=config.engine, precision=config.precision)
    engine.module.load(config.model, precision=config.precision)  # whose errors say what is wrong with it
    output = storage.locate(config.output, "--output")
    settings = {
        "model": model_digest.of(config.model, engine, config.precision),
        "engine": engine.name,
        "precision": config.precision,
        "input": config.input if "://" in config.input else os.path.abspath(config.input),
        "input_format": config.input_format,
        "text_column": config.text_column,
    }
    with storage.reported(f"--output={config.output}"):
        if output.info().type == pyarrow.fs.FileType.File:
            raise UserError(f"--output={config.output}: is a file; pass a new folder")
    found = storage.read_json(output / PLAN, f"--output={config.output}")
    if found is None:
        _check_empty(output, config.output)
        work = plan.make(config.input, input_format=config.input_format, text_column=config.text_column)
        storage.write_json(output, PLAN, {"settings": settings, "plan": work.as_json()})
    else:
        _check_same(found["settings"], settings, config.output)
        work = plan.from_json(found["plan"])
    job = Job(
        source=storage.find_root(config.input),
        output=output,
        model=os.path.abspath(os.path.expanduser(config.model)),
        engine=engine,
        precision=config.precision,
        digest=settings["model"],
        input_format=work.input_format,
        text_column=work.text_column,
        columns=work.columns,
        skip_bad_rows=config.skip_bad_rows,
    )
    return Opened(job, work, settings)


def run(config: ScoreConfig, opened: Opened, todo: list[Fragment], progress: Progress) -> Result:
    """Answers what is left of a job and closes it.

    Args:
      config: Settings.
      opened: From `open_job`.
      todo: From `missing`.
      progress: Called with what `pool.Pool.run` yields.

    Raises:
      UserError: The job cannot go on; the same command continues it.
    """
    job = opened.job
    success = storage.read_json(job.output / SUCCESS, f"--output={config.output}")
    if success is None:
        records = {}
        for fragment, item in _answers(config, job, todo):
            progress(fragment, item)
            if isinstance(item, dict):
                records[fragment.output] = item
        success = _finish(opened, records)
    for leftover in (RECORDS, storage.PARTIAL):
        with storage.reported(f"--output={config.output}"), contextlib.suppress(FileNotFoundError):
            job.output.system.delete_dir((job.output / leftover).path)
    return Result(success["rows"], success["bad_rows"], len(success["files"]))


def missing(opened: Opened) -> list[Fragment]:
    """Returns the fragments that have no output file yet."""
    done = {name for name, _ in opened.job.output.files(recursive=True)}
    return [fragment for fragment in opened.plan.fragments if fragment.output not in done]


def _answers(config: ScoreConfig, job: Job, todo: list[Fragment]) -> Iterator[tuple[Fragment, int | dict | None]]:
    if not todo:
        return
    from sentiment_tf.inference.jobs import pool  # takes a second to load

    limits = pool.Limits(config.least_workers, config.most_workers, config.stall_timeout)
    with pool.cluster(config.ray_address, startup_timeout=config.startup_timeout):
        yield from pool.Pool(job, todo, limits).run()


def _finish(opened: Opened, records: dict[str, dict]) -> dict:
    """Writes ``_SUCCESS`` from the records of all fragments, those of earlier starts included; returns its content."""
    output = opened.job.output
    earlier = [one.output for one in opened.plan.fragments if one.output not in records]
    with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
        read = threads.map(lambda name: storage.read_json(output / RECORDS / f"{name}.json", "--output"), earlier)
        records = records | dict(zip(earlier, read, strict=True))
    if lost := [name for name in earlier if records[name] is None]:
        raise UserError(f"--output={output.path}: {lost[0]} has no record; delete it, and start the same command again")
    files = {one.output: records[one.output] for one in opened.plan.fragments}
    counts = {name: sum(record[name] for record in files.values()) for name in ("rows", "bad_rows")}
    success = counts | {"settings": opened.settings, "files": files}
    storage.write_json(output, SUCCESS, success)
    return success


def _check_empty(output: Place, name: str) -> None:
    with storage.reported(f"--output={name}"):
        selector = pyarrow.fs.FileSelector(output.path, allow_not_found=True)
        names = [info.base_name for info in output.system.get_file_info(selector)]
    if [other for other in names if other not in ("", storage.PARTIAL)]:
        raise UserError(f"--output={name}: holds files of something else ({names[0]}); pass a new or empty folder")


def _check_same(there: dict, here: dict, name: str) -> None:
    different = [
        f"--{setting} (there {there.get(setting)}, here {value})"
        for setting, value in here.items()
        if there.get(setting) != value
    ]
    if different:
        raise UserError(
            f"--output={name}: was begun with another {', '.join(different)}; pass the same, or another folder"
        )
