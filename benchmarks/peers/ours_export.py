"""Writes the exports that `ours_predict` answers with."""

from pathlib import Path

import common
import ours_common

from sentiment_tf.data import tokenization
from sentiment_tf.exporting import formats
from sentiment_tf.exporting.bundle import Bundle
from sentiment_tf.modeling import distilbert

if __name__ == "__main__":
    arguments = common.parse(__doc__)
    arguments.precision = "float32"  # of the weights; the formats hold what each of them holds
    loaded = ours_common.load(arguments)
    bundle = Bundle(
        weights=distilbert.read_weights(loaded.model),
        named_weights=distilbert.pytorch_weights(loaded.model),
        network=distilbert.network_settings(loaded.model),
        tokenizer=tokenization.portable(loaded.tokenizer),
        label_names=common.LABEL_NAMES,
        max_length=arguments.max_length,
    )
    run = Path(arguments.scratch) / Path(arguments.model).name / "run"
    for each in formats.FORMATS:
        each.write(bundle, each.path(run, 1))
