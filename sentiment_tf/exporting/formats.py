"""The formats that a run is exported in.

Another format is a file beside this one with ``write(bundle, folder)``, and an entry in `FORMATS`. What a format's
files answer is compared with the trained model by `verification`, through the engine that the entry names.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path

from sentiment_tf.errors import UserError
from sentiment_tf.exporting import layout


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write a trained model.

    Attributes:
      name: as ``--exports`` spells it.
      title: as tables spell it.
      folder: below the run's folder; ``{version}`` stands for the number of the SavedModel's version.
      files: by precision, the file that holds the weights; "" where a folder holds them together with others.
      writer: module in this folder with ``write(bundle, folder)``.
      engine: module in inference/engines/ with ``load(folder, precision=…)``, which returns a
        `inference.classifier.Classifier`.
    """

    name: str
    title: str
    folder: str
    files: dict[str, str]
    writer: str
    engine: str

    def path(self, run: Path, version: int | str) -> Path:
        """Returns the format's folder in a run."""
        return run / self.folder.format(version=version)

    @property
    def write(self) -> Callable:
        """The writer's function; its libraries are loaded here, when they are needed."""
        return importlib.import_module(f"{_WRITERS}.{self.writer}").write

    @property
    def load(self) -> Callable:
        """The engine's function."""
        return importlib.import_module(f"{_ENGINES}.{self.engine}").load


_WRITERS, _ENGINES = "sentiment_tf.exporting", "sentiment_tf.inference.engines"

FORMATS = (
    Format("saved_model", "SavedModel", "{version}", {"float32": ""}, "saved_model", "tensorflow"),
    Format("hf", "transformers", layout.HF_FOLDER, {"float32": layout.HF_WEIGHTS}, "huggingface", "safetensors"),
    Format("litert", "LiteRT", layout.LITERT_FOLDER, layout.LITERT_FILES, "litert", "litert"),
    Format("onnx", "ONNX", layout.ONNX_FOLDER, layout.ONNX_FILES, "onnx", "onnxruntime"),
)
ALL = ",".join(each.name for each in FORMATS)


def parse(names: str) -> list[Format]:
    """Returns the formats of a value of ``--exports``, in the order of `FORMATS`.

    Raises:
      UserError: a name is unknown, there is none, or one needs another.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [each.name for each in FORMATS]
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(f"--exports={names}: {unknown[0]} is not known; choose from {', '.join(known)}")
    if not wanted:
        raise UserError(f"--exports={names}: names no format; choose from {', '.join(known)}")
    if "onnx" in wanted and "hf" not in wanted:
        raise UserError(f"--exports={names}: the ONNX files belong to the transformers folder; add hf")
    return [each for each in FORMATS if each.name in wanted]


def by_name(name: str, among: Iterable[Format] = FORMATS) -> Format:
    """Returns the format of that name."""
    return next(each for each in among if each.name == name)
