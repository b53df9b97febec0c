"""Fine-tune DistilBERT for sentiment: python -m sentiment_tf.train --dataset=sst2

Evaluates before, trains, evaluates after, and leaves a folder in --output_dir with the SavedModel, the
Hugging Face model, plots and TensorBoard logs. Your own texts: --data_dir or --train_file.
--verbosity (absl's own) sets what is printed: -1 warnings, 0 the run's steps (the default), 1 everything.
"""

import dataclasses
import logging
import re
import typing
from collections.abc import Callable
from pathlib import Path

from absl import flags
from absl import logging as absl_logging  # noqa: F401  defines --verbosity

from sentiment_tf import cli
from sentiment_tf.config import TrainConfig, resolve
from sentiment_tf.errors import UserError
from sentiment_tf.exporting import formats
from sentiment_tf.pipeline import checks
from sentiment_tf.system import runtime

log = logging.getLogger("sentiment_tf")

_DEFINE: dict[type, Callable[..., object]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag for each field of TrainConfig, with its default and documentation."""
    types = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        annotation = types[field.name]
        (kind,) = _DEFINE.keys() & {annotation, *typing.get_args(annotation)}  # "int | None" is an int flag
        _DEFINE[kind](field.name, field.default, field.metadata["help"], flag_values=flag_values)
    # Properties of the call, not settings of the run: no run.json records them.
    flags.DEFINE_bool(
        "dry_run", False, "Print what the run would need, minutes included, and train nothing.", flag_values=flag_values
    )
    flags.DEFINE_string(
        "push_to_hub", None, "user/name on the Hugging Face hub that the finished run is uploaded to.", flag_values
    )
    flags.DEFINE_bool("private", False, "With --push_to_hub: make the repository private.", flag_values)


def main(arguments: list[str]) -> int:
    """Runs the training that the flags describe."""
    if arguments:
        raise UserError(f"{arguments[0]}: not a flag; settings are passed as --name=value")
    config = _config()
    checks.validate(config)
    runtime.check_platform()
    _check_push_flags(config)
    verbosity = flags.FLAGS["verbosity"]
    cli.log_to_stdout(quiet=config.quiet, verbosity=verbosity.value if verbosity.present else 0)
    from sentiment_tf.pipeline import hub, launch  # after the checks: their libraries take seconds to load

    if flags.FLAGS.dry_run:
        print(launch.dry_run(config))
        return 0
    repository = flags.FLAGS.push_to_hub
    if repository and not _run_exists(config):  # known before hours of training
        hub.check_access(repository, overwrite=config.overwrite)
    run = launch.train(config)
    if run and repository:
        url = hub.push(run.directory, repository, private=flags.FLAGS.private, overwrite=config.overwrite)
        log.info("uploaded: %s", url)
    return 0


def _config() -> TrainConfig:
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    return TrainConfig(**{name: flags.FLAGS[name].value for name in names})


def _check_push_flags(config: TrainConfig) -> None:
    """Checks that the other settings let the run be uploaded."""
    repository = flags.FLAGS.push_to_hub
    if not repository and flags.FLAGS.private:
        raise UserError("--private: is for a repository on the hub; pass --push_to_hub=user/name, too")
    if repository and config.offline:
        raise UserError(f"--push_to_hub={repository}: contradicts --offline; upload later with: sentiment-tf push")
    if repository and "hf" not in [each.name for each in formats.parse(config.exports)]:
        raise UserError(f"--push_to_hub={repository}: uploads the transformers folder; add hf to --exports")


def _run_exists(config: TrainConfig) -> bool:
    config = resolve(config)
    return Path(config.output_dir, config.run_name).exists()


def _setting_problems() -> list[str]:
    """Returns what is wrong with the settings that did parse, after others did not.

    A problem that names a flag which did not parse, or was not given, may be that mistake's mere consequence: it
    waits for the next run. What follows a semicolon is advice.
    """
    given = {name for name in flags.FLAGS if flags.FLAGS[name].present}
    try:
        checks.validate(_config())
    except UserError as error:
        return [
            problem for problem in error.problems if given.issuperset(re.findall(r"--(\w+)", problem.split(";")[0]))
        ]
    return []


if __name__ == "__main__":
    define_flags()
    cli.run(main, check=_setting_problems)
