"""Fine-tune DistilBERT for sentiment: python -m sentiment_tf.train --dataset=sst2

Evaluates before, trains, evaluates after, and leaves a folder in --output_dir with the SavedModel, the
Hugging Face model, plots and TensorBoard logs. Your own texts: --data_dir or --train_file.
--verbosity (absl's own) says how much is told: -1 warnings, 0 the run's steps (the default), 1 everything.
"""

import dataclasses

from absl import flags
from absl import logging as absl_logging  # noqa: F401  defines --verbosity

from sentiment_tf import cli
from sentiment_tf.config import TrainConfig, resolve, validate
from sentiment_tf.errors import UserError

_DEFINE = {
    "str": flags.DEFINE_string,
    "int": flags.DEFINE_integer,
    "float": flags.DEFINE_float,
    "bool": flags.DEFINE_bool,
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag for each field of TrainConfig, with its default and documentation."""
    for field in dataclasses.fields(TrainConfig):
        kind = getattr(field.type, "__name__", str(field.type)).split(" ")[0]  # "int | None" is an int flag
        _DEFINE[kind](field.name, field.default, field.metadata["help"], flag_values=flag_values)
    # A way to call the command, not a setting of a run: no run records it.
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
    told = flags.FLAGS["verbosity"]
    cli.log_to_stdout(quiet=config.quiet, verbosity=told.value if told.present else 0)
    from sentiment_tf.pipeline import dry_run, experiment  # after validation: loading TensorFlow takes seconds

    if flags.FLAGS.dry_run:
        print(dry_run.report(resolve(config)))
    else:
        experiment.run(resolve(config))
    return 0


if __name__ == "__main__":
    define_flags()
    cli.run(main)
