"""Answer files on many cores or machines: python -m sentiment_tf.score --model=RUN --input='reviews/*.parquet' …

Reads Parquet, CSV, TSV, JSON lines or text, and writes an output file for each input file (several for a large Parquet
file) with the input's own columns and the answers. Needs Ray. Killed at any moment, the same command goes on where it
stopped.
"""

import collections
import dataclasses
import importlib.util
import sys
import time

import tqdm
from absl import flags

from sentiment_tf import cli
from sentiment_tf.errors import UserError
from sentiment_tf.inference import engines, readers
from sentiment_tf.inference.jobs import job
from sentiment_tf.inference.jobs.plan import Fragment

REPORT_EVERY = 60  # seconds, where no person watches


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags."""

    def string(name, default, help):
        flags.DEFINE_string(name, default, help, flag_values=flag_values)

    def number(name, default, help):
        flags.DEFINE_float(name, default, help, lower_bound=0.001, flag_values=flag_values)

    def count(name, default, help):
        flags.DEFINE_integer(name, default, help, lower_bound=1, flag_values=flag_values)

    string("model", None, "A run's folder, at the same path on every machine.")
    string(
        "input",
        None,
        "Files to answer: a file, a folder, or a pattern such as 'reviews/**/*.parquet'. Paths, s3://, gs://, hdfs://, "
        "and whatever pyarrow or fsspec can open.",
    )
    string("output", None, "Folder to write, local or a URI as for --input; new, or begun by the same command.")
    string("text_column", None, "Column of --input that holds the text (default: text, sentence, …).")
    flags.DEFINE_enum(
        "input_format", None, readers.FORMATS, "Format of --input (default: by extension).", flag_values=flag_values
    )
    flags.DEFINE_enum(
        "engine",
        "auto",
        engines.NAMES,
        "Library that runs the model: auto takes LiteRT where its files are there.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        engines.PRECISIONS,
        "Arithmetic: float32 gives the trained model's answers; int8 is smaller and faster; bfloat16 needs tensorflow.",
        flag_values=flag_values,
    )
    flags.DEFINE_bool(
        "skip_bad_rows",
        False,
        "Write rows that can't be read to _bad_rows in the output folder, with the reason, and go on.",
        flag_values=flag_values,
    )
    string(
        "ray_address", None, "host:port of a Ray cluster's head, or auto on one of its machines (default: this one)."
    )
    count("least_workers", 1, "Workers to ask for even if no CPU is free, so that an autoscaling cluster grows.")
    count("most_workers", None, "Workers at most; each takes one CPU (default: every CPU that is free).")
    number("stall_timeout", 600.0, "Seconds without an answered row after which the job ends.")
    number("startup_timeout", 600.0, "Seconds to wait for the cluster at --ray_address.")


def main(arguments: list[str]) -> int:
    """Answers the files that the flags name."""
    options = flags.FLAGS
    _check(options, arguments)
    cli.expand_home("model", "input", "output")
    config = job.ScoreConfig(**{field.name: options[field.name].value for field in dataclasses.fields(job.ScoreConfig)})
    opened = job.open_job(config)
    todo = job.missing(opened)
    with Progress(todo) as progress:
        result = job.run(config, opened, todo, progress)
    print(f"{result.rows:,} rows answered in {config.output}, files: {result.files:,}")
    if result.bad_rows:
        print(f"{result.bad_rows:,} bad rows left out; their reasons are in {config.output}/_bad_rows", file=sys.stderr)
    return 0


def _check(options, arguments: list[str]) -> None:
    problems = [f"{argument}: unknown argument; pass files with --input" for argument in arguments]
    missing = {
        "model": "which model? Pass a run's folder, for example saved_models/sst2",
        "input": "which texts? Pass a file, a folder or a pattern such as 'reviews/*.parquet'",
        "output": "where to? Pass a new folder",
    }
    problems += [f"--{name}: {problem}" for name, problem in missing.items() if not options[name].value]
    if importlib.util.find_spec("ray") is None:
        problems.append("Ray is not installed, which divides the work; run: pip install 'sentiment-tf[ray]'")
    if options.most_workers and options.least_workers > options.most_workers:
        problems.append(
            f"--least_workers={options.least_workers}: more than --most_workers={options.most_workers}; pass less"
        )
    if problems:
        raise UserError(*problems)


class Progress:
    """Rows answered, their rate and the time left: a bar on a terminal, else a line a minute."""

    def __init__(self, todo: list[Fragment]):
        self._bytes = sum(fragment.size for fragment in todo)
        rows = [fragment.rows for fragment in todo]
        self._rows = None if None in rows else sum(rows)
        self._answered, self._finished = collections.Counter(), []
        self._bar = tqdm.tqdm(total=self._rows, unit=" rows", unit_scale=True, disable=None)
        self._began = self._reported = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *raised) -> None:
        self._bar.close()

    def __call__(self, fragment: Fragment, item: int | dict | None) -> None:
        """Notes what a worker did; see `pool.Pool.run`."""
        if isinstance(item, dict):
            self._finished.append(fragment)
        elif item is None:
            del self._answered[fragment]
        else:
            self._answered[fragment] += item
        self._bar.n, self._bar.total = sum(self._answered.values()), self._rows or self._estimated_rows()
        self._bar.update(0)
        if self._bar.disable and (now := time.monotonic()) - self._reported > REPORT_EVERY:
            self._reported, seconds = now, now - self._began
            print(self._bar.format_meter(self._bar.n, self._bar.total, seconds, unit=" rows", unit_scale=True))

    def _estimated_rows(self) -> int | None:
        """Returns how many rows there are, judged by the bytes of the files that are done; None if there are none."""
        read = sum(fragment.size for fragment in self._finished)
        return read and sum(self._answered[fragment] for fragment in self._finished) * self._bytes // read or None


if __name__ == "__main__":
    define_flags()
    cli.run(main)
