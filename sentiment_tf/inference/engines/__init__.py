"""The libraries that run an exported model, one file each.

Another engine is a file here with ``installed()``, ``find(path, precision)``, ``files(folder, precision)`` and
``load(path, precision)``, and an entry in `ENGINES`.
"""

import contextlib
import importlib
import os
from typing import NamedTuple

from sentiment_tf.errors import UserError
from sentiment_tf.inference.classifier import Classifier


class Engine(NamedTuple):
    """A library that runs exported models.

    Attributes:
      name: as ``--engine`` spells it; its module in this folder.
      precisions: those of its arithmetic, as ``--precision`` spells them.
    """

    name: str
    precisions: tuple[str, ...]

    @property
    def module(self):
        """The engine's module; the library itself is loaded when a model is."""
        return importlib.import_module(f"{__name__}.{self.name}")


# In the order in which --engine=auto looks for one: the first starts in a fraction of the time of the second.
ENGINES = (Engine("litert", ("float32", "int8")), Engine("tensorflow", ("float32", "bfloat16")))
NAMES = ("auto", *(engine.name for engine in ENGINES))
PRECISIONS = ("float32", "int8", "bfloat16")


def load(path: str | os.PathLike, *, engine: str = "auto", precision: str = "float32") -> Classifier:
    """Loads a run's model.

    Args:
      path: a run's folder; or the folder of one of its exports, which decides the engine.
      engine: one of `NAMES`; auto takes the first of `ENGINES` that is installed and whose files are there.
      precision: one of `PRECISIONS`. float32 gives the trained model's answers to 1e-4.

    Raises:
      UserError: there is no such model, engine, precision or package.
    """
    return choose(path, engine=engine, precision=precision).module.load(path, precision=precision)


def choose(path: str | os.PathLike, *, engine: str, precision: str) -> Engine:
    """Returns the engine that `load` takes, without loading anything.

    Raises:
      UserError: as in `load`, as far as can be seen without reading the files.
    """
    if engine not in NAMES:
        raise UserError(f"--engine={engine}: unknown; choose from {', '.join(NAMES)}")
    among = [each for each in ENGINES if engine in ("auto", each.name)]
    able = [each for each in among if precision in each.precisions]
    if not able:
        offered = among[0].precisions if engine != "auto" else PRECISIONS
        raise UserError(f"--precision={precision}: --engine={engine} has {', '.join(offered)}")
    for each in able[:-1]:
        if each.module.installed():
            with contextlib.suppress(UserError):
                each.module.find(path, precision=precision)
                return each
    able[-1].module.find(path, precision=precision)  # whose error says what is missing
    return able[-1]
