"""Fine-tune DistilBERT for sentiment: python -m sentiment_tf.train --dataset=sst2

Evaluates before, trains, evaluates after, and leaves a folder in --output_dir with the SavedModel, the
Hugging Face model, plots and TensorBoard logs. Your own texts: --data_dir or --train_file.
"""

import dataclasses

from absl import flags

from sentiment_tf import command
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


def main(arguments: list[str]) -> int:
    """Runs the training that the flags describe."""
    if arguments:
        raise UserError(f"{arguments[0]}: not a flag; settings are passed as --name=value")
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    config = TrainConfig(**{name: getattr(flags.FLAGS, name) for name in names})
    validate(config)
    command.log_to_stdout(quiet=config.quiet)
    from sentiment_tf import experiment  # after validation: loading TensorFlow takes seconds

    experiment.run(resolve(config))
    return 0


if __name__ == "__main__":
    define_flags()
    command.run(main)
