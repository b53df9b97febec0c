"""A tiny run with a LiteRT export: the tests' vocabulary of letters with random weights."""

import json

from sentiment_tf.exporting import litert
from tests.support import tiny_export


def export(run, **changes):
    """Writes <run>/litert and returns the run."""
    run.mkdir(parents=True, exist_ok=True)
    litert.write(tiny_export.bundle(**changes), run / "litert")
    return run


def edit_config(run, **changes):
    """Changes settings of an export; None takes one away."""
    path = run / "litert" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
