"""Upload a finished run to the Hugging Face hub: python -m sentiment_tf.push saved_models/sst2 user/name

Uploads the folder for transformers with its model card and ONNX files, and the report, which quotes texts. The token
is taken from HF_TOKEN, or from where `hf auth login` put it.
"""

import os

from absl import flags

from sentiment_tf import cli
from sentiment_tf.errors import UserError


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags."""
    flags.DEFINE_bool("private", False, "Make the repository private.", flag_values=flag_values)
    flags.DEFINE_bool("overwrite", False, "Replace what the repository holds.", flag_values=flag_values)
    flag_values.set_gnu_getopt(True)  # flags may follow the names


def main(arguments: list[str]) -> int:
    """Uploads the run that the arguments name."""
    if len(arguments) != 2:
        raise UserError(
            "pass a run's folder and a name on the hub, as in: sentiment-tf push saved_models/sst2 user/name"
        )
    from sentiment_tf.pipeline import hub  # its libraries take a second to load

    run, repository = arguments
    options = flags.FLAGS
    url = hub.push(os.path.expanduser(run), repository, private=options.private, overwrite=options.overwrite)
    print(f"uploaded: {url}")
    return 0


if __name__ == "__main__":
    define_flags()
    cli.run(main)
