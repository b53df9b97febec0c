"""Writes the SavedModel that `ours_predict` answers with."""

from pathlib import Path

import common
import ours_common

from sentiment_tf.data import tokenization
from sentiment_tf.exporting import saved_model
from sentiment_tf.modeling import distilbert

if __name__ == "__main__":
    arguments = common.parse(__doc__)
    loaded = ours_common.load(arguments)
    saved_model.export_saved_model(
        Path(arguments.scratch) / "saved_model/1",
        weights=distilbert.read_weights(loaded.model),
        heads=loaded.model.config.n_heads,
        activation=loaded.model.config.activation,
        vocabulary=tokenization.vocabulary(loaded.tokenizer),
        lower_case=tokenization.lower_cases(loaded.tokenizer),
        max_length=common.MAX_LENGTH,
        label_names=common.LABEL_NAMES,
    )
