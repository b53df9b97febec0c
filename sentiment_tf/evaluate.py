"""Measure an exported model on labelled texts: python -m sentiment_tf.evaluate --model=saved_models/sst2 --dataset=sst2

Prints loss, accuracy with its interval, macro F1, Matthews correlation, ROC-AUC and the confusion matrix;
--compare names a second model that answers the same texts, and asks whether the difference is chance.
"""

import json
from pathlib import Path

from absl import flags

from sentiment_tf import cli
from sentiment_tf.data import registry, settings
from sentiment_tf.errors import UserError
from sentiment_tf.inference import engines


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_string("model", None, "A run's folder, one of its version folders, or a SavedModel of this program.")
    flags.DEFINE_string("compare", None, "Second model, measured on the same texts and tested against the first.")
    flags.DEFINE_string("dataset", None, f"Data set by name: {registry.alternatives()}.")
    flags.DEFINE_string("data_dir", None, f"Folder with your copy: {registry.GLUE} or {registry.ACL_IMDB}.")
    flags.DEFINE_string("test_file", None, "Your labelled texts: .csv, .tsv, .jsonl or .parquet.")
    flags.DEFINE_string("text_column", None, "Column that holds the text.")
    flags.DEFINE_string("label_column", None, "Column that holds the label.")
    flags.DEFINE_bool("offline", False, "Use the packaged copy of the data set.")
    flags.DEFINE_string("dataset_revision", None, "Commit, tag or branch of the data set on the hub.")
    flags.DEFINE_integer("seed", None, "Seed that split off the validation rows (default: the run's own).")
    flags.DEFINE_enum("engine", "auto", engines.NAMES, "Library that runs the models, as in predict.")
    flags.DEFINE_enum("precision", "float32", engines.PRECISIONS, "Arithmetic, as in predict.")
    flags.DEFINE_string("output", None, "File to write the metrics to, as JSON; the picture goes beside it as PNG.")


def main(arguments: list[str]) -> int:
    """Evaluates what the flags name."""
    options = flags.FLAGS
    cli.expand_home("model", "compare", "output")
    _check(options, arguments)
    from sentiment_tf.pipeline import evaluating  # after the checks: its libraries take seconds to load

    cli.log_to_stdout()
    names = [options.model, *([options.compare] if options.compare else [])]
    models = [engines.load(name, engine=options.engine, precision=options.precision) for name in names]
    _check_classes(names, models)
    seed = options.seed if options.seed is not None else _recorded_seed(options.model)
    result = evaluating.measure(models, _data(options), seed=seed)
    print(evaluating.describe(result, names))
    if options.output:
        print(f"\nwritten: {' '.join(map(str, evaluating.write(result, names, Path(options.output))))}")
    return 0


def _data(options) -> settings.DataSettings:
    """Returns which data the flags name."""
    return settings.DataSettings(
        dataset=options.dataset,
        data_dir=options.data_dir,
        files={"test": options.test_file},
        text_column=options.text_column,
        label_column=options.label_column,
        offline=options.offline,
        revision=options.dataset_revision,
    )


def _check(options, arguments: list[str]) -> None:
    """Checks what can be checked before anything is loaded."""
    problems = [f"{argument}: not a flag; settings are passed as --name=value" for argument in arguments[:1]]
    if not options.model:
        problems.append("--model: which model? Pass a run's folder, for example saved_models/sst2")
    problems += settings.problems(_data(options))
    if options.output and Path(options.output).suffix == ".png":
        problems.append(
            f"--output={options.output}: the metrics are JSON, and the picture beside them is PNG; pass .json"
        )
    elif options.output:
        paths = (Path(options.output), Path(options.output).with_suffix(".png"))
        problems += [f"--output={path}: exists; name another file or move it away" for path in paths if path.exists()]
    if options.output and not Path(options.output).resolve().parent.is_dir():
        problems.append(f"--output={options.output}: its folder does not exist; make it first")
    if problems:
        raise UserError(*problems)


def _check_classes(names: list[str], models: list) -> None:
    classes = [tuple(model.label_names) for model in models]
    if len(set(classes)) > 1:
        raise UserError(
            f"--compare={names[1]}: its classes are {', '.join(classes[1])}, those of {names[0]} "
            f"{', '.join(classes[0])}; only models of the same classes can be compared"
        )


def _recorded_seed(model: str) -> int:
    """Returns the seed that a run was trained with; it splits off the same validation rows again."""
    for folder in (Path(model), Path(model).parent):
        try:
            return json.loads((folder / "run.json").read_text())["config"]["seed"]
        except (OSError, ValueError, KeyError):
            continue
    return 0


if __name__ == "__main__":
    define_flags()
    cli.run(main)
