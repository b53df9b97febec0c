"""Raw text to label by this project's exports, loaded and run as the predict command does it."""

from pathlib import Path

import common

from sentiment_tf.inference import engines


def load(arguments):
    """Loads the engine that was asked for."""
    run = Path(arguments.scratch) / Path(arguments.model).name / "run"
    return engines.load(run, engine=arguments.engine, precision=arguments.precision)


if __name__ == "__main__":
    common.measure_pass(
        __doc__,
        load=load,
        prepare=lambda model, texts: texts,
        run=lambda model, texts: model.predict(texts),
    )
