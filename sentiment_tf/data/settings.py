"""The settings that say which data a command reads, and the checks that are made before anything is read."""

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentiment_tf.data import registry
from sentiment_tf.errors import UserError

SPLITS = ("train", "validation", "test")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_NOT_TEXT = {  # how files begin that are no text, whatever their extension
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"%PDF-": "a PDF",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "compressed",
}


@dataclass(frozen=True)
class DataSettings:
    """Which data to read: a data set by name, the user's copy of it in a folder, a folder, or files.

    Attributes:
      dataset: a name from `registry.DATASETS`; None for the user's own data.
      data_dir: folder in GLUE's or aclImdb's layout, or with train.csv and the like.
      files: split → CSV, TSV, JSON lines or Parquet file, None for a split without one. The keys are the splits for
        which the command has a flag.
      text_column: column of the texts in the user's files; None finds it by its usual names.
      label_column: column of the labels in the user's files; None finds it by its usual names.
      offline: read the packaged copy of a named data set.
      revision: commit, tag or branch of a named data set on the hub.
    """

    dataset: str | None = None
    data_dir: str | Path | None = None
    files: Mapping[str, str | Path | None] = field(default_factory=lambda: dict.fromkeys(SPLITS))
    text_column: str | None = None
    label_column: str | None = None
    offline: bool = False
    revision: str | None = None

    @property
    def given_files(self) -> dict[str, Path]:
        """Split → file, for the splits that have one; ``~`` is expanded."""
        return {split: Path(file).expanduser() for split, file in self.files.items() if file is not None}

    @property
    def folder(self) -> Path | None:
        """The folder of ``data_dir``; ``~`` is expanded."""
        return None if self.data_dir is None else Path(self.data_dir).expanduser()

    @property
    def columns(self) -> dict[str, Any]:
        """The column names, as keyword arguments of `readers.read_file`."""
        return {"text_column": self.text_column, "label_column": self.label_column}


def problems(data: DataSettings) -> list[str]:
    """Returns every problem of the settings; if they agree, checks that the folder and the files exist."""
    return _name_problems(data) + _contradictions(data) + _named_set_problems(data) or _missing_paths(data)


def _flags(data: DataSettings) -> dict[str, Path]:
    """Returns {flag: file} of the files that were given."""
    return {f"--{split}_file": file for split, file in data.given_files.items()}


def _name_problems(data: DataSettings) -> list[str]:
    own = f"--data_dir or --{next(iter(data.files))}_file"  # the flags for the user's own data
    if data.dataset is not None:
        try:
            registry.lookup(data.dataset)
        except UserError as error:
            return [f"{error}; or pass {own}"]
    elif data.data_dir is None and not data.given_files:
        return [f"--dataset: name one of {', '.join(registry.DATASETS)}, or pass {own}"]
    return []


def _contradictions(data: DataSettings) -> list[str]:
    found, given = [], _flags(data)
    if given and data.data_dir is not None:
        found.append(f"--data_dir={data.data_dir}: pass it or {', '.join(given)}, not both")
    if given and data.dataset is not None:
        found.append(f"--dataset={data.dataset}: pass it or {', '.join(given)}, not both")
    if given and data.dataset is None and data.data_dir is None and data.files.get("train", "") is None:
        found.append(f"--train_file: is missing; {', '.join(given)} need it")
    if len(set(given.values())) < len(given):
        found.append(f"{', '.join(given)}: each split needs a file of its own")
    if data.revision is not None and (given or data.data_dir is not None or data.offline):
        found.append(
            f"--dataset_revision={data.revision}: names a revision on the hub; files and --offline have none, "
            "leave it out"
        )
    return found


def _named_set_problems(data: DataSettings) -> list[str]:
    """Returns what does not fit a named data set that is read from the hub or from its package."""
    if data.dataset is None or data.given_files or data.data_dir is not None:
        return []
    named = f"--dataset={data.dataset}"
    found = [
        f"--{name}={column}: is for your own files; the columns of {named} are known, leave it out"
        for name, column in data.columns.items()
        if column is not None
    ]
    spec = registry.DATASETS.get(data.dataset)
    if data.offline and spec and not spec.packaged:
        having = registry.alternatives(registry.packaged_names(), conjunction="and")
        layout = f" in the layout of {spec.folder_layout}" if spec.folder_layout else ""
        found.append(f"--offline: {named} has no packaged copy; {having} have; or pass --data_dir=FOLDER{layout}")
    return found


def _missing_paths(data: DataSettings) -> list[str]:
    # Path.is_dir and Path.is_file raise for a name that is too long and for a path below an unreadable folder.
    if data.folder is not None and not os.path.isdir(data.folder):
        return [f"--data_dir={data.data_dir}: no such folder"]
    problems = ((f"{flag}={file}", file_problem(file)) for flag, file in _flags(data).items())
    return [f"{given}: {problem}" for given, problem in problems if problem]


def file_problem(path: str | Path) -> str | None:
    """Returns why a file of rows cannot be read again and again, as training does, or None."""
    if os.path.isfile(path):  # Path.is_file raises for some paths
        return None
    if os.path.isdir(path):
        return "is a folder; pass a file"
    if os.path.exists(path):
        return "is a pipe or a device, and rows are read more than once; save them as a file and pass that"
    return "no such file"


def compression_problem(path: str | Path) -> str | None:
    """Returns what to do about a file that is compressed, by its extension, or None."""
    extension = Path(path).suffix.lower()
    return f"is compressed ({extension}); unpack it and pass the file in it" if extension in COMPRESSED else None


def content_problem(beginning: bytes) -> str | None:
    """Returns why a file of lines, CSV or JSON cannot be read, by its first bytes, or None."""
    kind = next((kind for start, kind in _NOT_TEXT.items() if beginning.startswith(start)), None)
    return kind and f"is {kind}, not text; save its rows as CSV, JSON lines or Parquet, with that extension"
