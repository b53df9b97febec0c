"""Fine-tune DistilBERT for sentiment with TensorFlow, from raw text to a model that is served.

>>> import sentiment_tf as st
>>> run = st.train(st.TrainConfig(dataset="sst2"))
>>> model = st.load(run.directory)
>>> labels, probabilities = model.predict(["a gripping film"])
>>> metrics = st.evaluate(model, st.DataSettings(dataset="rotten_tomatoes", offline=True))
"""

import importlib
import os
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment_tf.config import TrainConfig
    from sentiment_tf.data.settings import DataSettings
    from sentiment_tf.errors import UserError
    from sentiment_tf.inference.engines import load
    from sentiment_tf.pipeline.evaluating import evaluate
    from sentiment_tf.pipeline.hub import push
    from sentiment_tf.pipeline.launch import train

# transformers' TensorFlow classes are Keras 2 code; this must be set before TensorFlow is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

__version__ = "0.1.0"
__all__ = ["DataSettings", "TrainConfig", "UserError", "__version__", "evaluate", "load", "push", "train"]

# Loaded when they are first used: answering from LiteRT must not load what training needs.
_MODULES = {
    "DataSettings": "data.settings",
    "TrainConfig": "config",
    "UserError": "errors",
    "evaluate": "pipeline.evaluating",
    "load": "inference.engines",
    "push": "pipeline.hub",
    "train": "pipeline.launch",
}


class _Package(types.ModuleType):
    """Keeps the API's functions, where Python would put the command modules of the same names, such as train.py."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
