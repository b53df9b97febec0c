"""Fine-tune DistilBERT for sentiment: python -m sentiment_tf.train --dataset=sst2

Evaluates before, trains, evaluates after, and leaves a folder in --output_dir with the SavedModel, the
Hugging Face model, plots and TensorBoard logs. Your own texts: --data_dir or --train_file.
--verbosity (absl's own) sets what is printed: -1 warnings, 0 the run's steps (the default), 1 everything.
"""

import dataclasses
import typing

from absl import flags
from absl import logging as absl_logging  # noqa: F401  defines --verbosity

from sentiment_tf import cli
from sentiment_tf.config import TrainConfig, resolve, validate
from sentiment_tf.errors import UserError

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag for each field of TrainConfig, with its default and documentation."""
    types = typing.get_type_hints(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        annotation = types[field.name]
        (kind,) = _DEFINE.keys() & {annotation, *typing.get_args(annotation)}  # "int | None" is an int flag
        _DEFINE[kind](field.name, field.default, field.metadata["help"], flag_values=flag_values)
    # A property of the call, not a setting of the run: no run.json records it.
    flags.DEFINE_bool(
        "dry_run", False, "Print what the run would need, minutes included, and train nothing.", flag_values=flag_values
    )


def main(arguments: list[str]) -> int:
    """Runs the training that the flags describe."""
    if arguments:
        raise UserError(f"{arguments[0]}: not a flag; settings are passed as --name=value")
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    config = TrainConfig(**{name: getattr(flags.FLAGS, name) for name in names})
    validate(config)
    verbosity = flags.FLAGS["verbosity"]
    cli.log_to_stdout(quiet=config.quiet, verbosity=verbosity.value if verbosity.present else 0)
    from sentiment_tf.pipeline import dry_run, experiment  # after validation: loading TensorFlow takes seconds

    if flags.FLAGS.dry_run:
        print(dry_run.report(resolve(config)))
    else:
        experiment.run(resolve(config))
    return 0


if __name__ == "__main__":
    define_flags()
    cli.run(main)
