"""Ask a trained model: python -m sentiment_tf.predict --model=saved_models/sst2 "a gripping film" …

Prints label and probability of each text. Files: --input=reviews.csv --output=answers.csv, of any size; the
rows come out in their order, with their own columns and the answers beside them. --explain adds how much each word
spoke for the answer.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

from sentiment_tf import cli
from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout, manifest
from sentiment_tf.inference import engines, output_file, readers, scoring, writers
from sentiment_tf.inference.engines import tensorflow
from sentiment_tf.reporting import formatting


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags."""
    string, switch = (
        functools.partial(kind, flag_values=flag_values) for kind in (flags.DEFINE_string, flags.DEFINE_bool)
    )
    choice = functools.partial(flags.DEFINE_enum, flag_values=flag_values)
    string("model", None, "A run's folder, one of its version folders, or a SavedModel of this program.")
    string("input", None, "File of texts to answer; - for stdin.")
    string("output", "-", "File to write; - for stdout.")
    choice("input_format", None, readers.FORMATS, "Format of --input (default: by its extension, else text).")
    choice("format", None, writers.FORMATS, "Format of the output (default: as the input).")
    string("text_column", None, "Column of --input that holds the text (default: text, sentence, …).")
    choice("engine", "auto", engines.NAMES, "Library that runs the model: auto takes LiteRT where its files are there.")
    choice(
        "precision",
        "float32",
        engines.PRECISIONS,
        "Arithmetic: float32 gives the trained model's answers; int8 is smaller and faster; bfloat16 needs tensorflow.",
    )
    switch("explain", False, "Add the words' weights: what each adds to the log-odds of the label. Needs tensorflow.")
    switch("resume", False, "Go on where --output stops.")
    switch("skip_bad_rows", False, "Leave out rows that can't be read, and count them.")
    switch("safe_csv", False, "In CSV, put an apostrophe before cells that a spreadsheet would run as formulas.")
    switch("verify", False, "First check the model's files against its MANIFEST.")
    flag_values.set_gnu_getopt(True)  # flags may follow texts


def main(texts: list[str]) -> int:
    """Answers what the flags and arguments name."""
    options = flags.FLAGS
    cli.expand_home("model", "input", "output")
    if options.output == "/dev/stdout":  # stdout has one name
        options["output"].value = output_file.STDOUT
    _check(options, texts)
    if options.verify:
        _verify(Path(options.model))
    engine = engines.choose(options.model, engine=_engine_name(options), precision=options.precision)
    if options.explain:
        layout.find_weights(options.model)
    if not (texts or options.input):
        return 0
    with _open_source(options, texts) as source:
        model = engine.module.load(options.model, precision=options.precision)
        form = writers.layout(
            _output_format(options),
            columns=source.columns,
            label_names=model.label_names,
            explain=options.explain,
            colour=options.output == output_file.STDOUT and formatting.wants_colour(sys.stdout),
        )
        rows = scoring.GoodRows(source, form.refuse, skip=options.skip_bad_rows)
        done = None
        if options.resume and Path(options.output).exists():
            done = scoring.pass_over_answered(model, rows, form, options.output)
        with output_file.Output(options.output, append_at=done) as output, _progress(options) as progress:
            scoring.answer(model, rows, form, output, progress, explain=options.explain)
    _say_end(options, rows)
    return 0


def _check(options, texts: list[str]) -> None:
    """Checks what can be checked before anything is loaded; tells all problems at once."""
    problems = []
    if not options.model:
        problems.append("--model: which model? Pass a run's folder, for example saved_models/sst2")
    if texts and options.input:
        problems.append(f"--input={options.input}: there are texts on the command line, too; pass one or the other")
    elif texts:
        unused = {"text_column": options.text_column, "input_format": options.input_format}
        problems += [
            f"--{flag}={value}: is for --input, but the texts are on the command line; leave it out"
            for flag, value in unused.items()
            if value
        ]
    if options.explain:
        problems += _check_explain(options)
    if not (texts or options.input or options.verify):
        problems.append("nothing to answer; pass texts, or --input=FILE, or --input=- for stdin")
    if options.output != output_file.STDOUT:
        problems += _check_output(options)
    elif options.resume:
        problems.append("--resume: what has gone to stdout can't be read back; pass --output=FILE")
    if options.safe_csv and _output_format(options) != writers.SAFE_CSV:
        problems.append(f"--safe_csv: is for CSV, and the output is {_output_format(options)}; pass --format=csv")
    if problems:
        raise UserError(*problems)


def _check_explain(options) -> list[str]:
    needed = {"engine": ("auto", "tensorflow"), "precision": ("float32",)}
    return [
        f"--{flag}={options[flag].value}: --explain needs gradients in float32 from --engine=tensorflow; leave it out"
        for flag, allowed in needed.items()
        if options[flag].value not in allowed
    ]


def _engine_name(options) -> str:
    """Returns the engine that is asked for; gradients are TensorFlow's alone."""
    return "tensorflow" if options.explain else options.engine


def _check_output(options) -> list[str]:
    output = Path(options.output)
    if not options.format and output.suffix in (".parquet", ".tsv"):
        return [f"--output={output}: answers are JSON lines, CSV or text; name a .jsonl, .csv or .txt file"]
    if not output.exists():
        missing = not output.resolve().parent.is_dir()
        return [f"--output={output}: its folder does not exist; make it first"] if missing else []
    if output_file.is_special(options.output):
        return [f"--resume: what has gone to {output} can't be read back; leave it out"] if options.resume else []
    if not output.is_file():
        return [f"--output={output}: is no file; pass a file to write"]
    if options.input and os.path.exists(options.input) and os.path.samefile(options.input, output):
        return [f"--output={output}: is the same file as --input; name another file"]
    return [] if options.resume else [output_file.exists(options.output)]


def _verify(model: Path) -> None:
    """Checks the MANIFEST of a run, and of the SavedModel in it.

    Raises:
      UserError: a file differs, or there is no MANIFEST.
    """
    places = [model]
    with contextlib.suppress(UserError):  # a run may hold other exports alone
        places.append(tensorflow.find(model))
    with_manifest = [place for place in dict.fromkeys(places) if (place / manifest.NAME).exists()]
    for place in with_manifest or places[-1:]:
        print(f"{place}: {manifest.check(place)} files, all as they were exported", file=sys.stderr)


def _open_source(options, texts: list[str]):
    if not options.input:
        return contextlib.nullcontext(readers.from_arguments(texts))
    input_format = options.input_format or readers.guess_format(options.input)
    return readers.open_source(options.input, input_format=input_format, text_column=options.text_column)


def _output_format(options) -> str:
    """The one asked for, else what the output's name says, else what is like the input."""
    input_format = options.input_format or readers.guess_format(options.input or "")
    by_name = {".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text"}
    by_input = {"text": "text", "csv": "csv", "tsv": "csv", "jsonl": "json", "parquet": "json"}
    output_format = options.format or by_name.get(Path(options.output).suffix) or by_input[input_format]
    return writers.SAFE_CSV if options.safe_csv and output_format == "csv" else output_format


@contextlib.contextmanager
def _progress(options) -> Iterator[Callable[[int], object]]:
    """Yields what counts answered rows: a bar on stderr for a file, unless its answers appear on the same screen."""
    on_screen = options.output == output_file.STDOUT and sys.stdout.isatty()
    if on_screen or not options.input:
        yield lambda rows: None
        return
    import tqdm  # two megabytes, which texts on the command line do not need

    with tqdm.tqdm(unit=" rows", unit_scale=True, disable=None) as bar:
        yield bar.update


def _say_end(options, rows: scoring.GoodRows) -> None:
    if options.output != output_file.STDOUT:
        print(f"{rows.good:,} rows answered in {options.output}")
    if rows.bad:
        print(f"skipped {rows.bad:,} bad rows; the first: {rows.first_bad}", file=sys.stderr)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
