"""MANIFEST: the SHA-256 of each file below a folder, in the format that `sha256sum --check` reads."""

import hashlib
import os
from pathlib import Path

from sentiment_tf.errors import UserError

NAME = "MANIFEST"


def write(directory: str | os.PathLike) -> None:
    """Writes `directory`/MANIFEST over all files below `directory`, itself excepted."""
    directory = Path(directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / NAME)
    lines = [f"{_sha256(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    (directory / NAME).write_text("".join(lines), encoding="utf-8")


def check(directory: str | os.PathLike) -> int:
    """Compares the files below a folder with its MANIFEST.

    A file that it does not list is let be, but for what a SavedModel answers with: its graph and its variables.

    Returns:
      How many files it lists; all of them are as they were written.

    Raises:
      UserError: names each file that is missing, differs or should be listed, or says that MANIFEST itself
        can't be read or is empty.
    """
    directory = Path(directory)
    try:
        lines = (directory / NAME).read_text(encoding="utf-8").splitlines()
        listed = [line.split("  ", 1) for line in lines]
        digests = {name: digest for digest, name in listed}
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / NAME}: can't be read ({error}); export the model again") from None
    if not digests:
        raise UserError(f"{directory / NAME}: lists no files; copy or export the model again")
    problems = [problem for name in digests if (problem := _difference(directory / name, digests[name]))]
    problems += [
        f"{path}: is not listed in {directory / NAME}; copy or export the model again"
        for path in _of_saved_models(directory)
        if path.relative_to(directory).as_posix() not in digests
    ]
    if problems:
        raise UserError(*problems)
    return len(digests)


def _of_saved_models(directory: Path) -> list[Path]:
    """Finds the graph and variables of each SavedModel below a folder: one in a version folder, any number in a run."""
    graphs = sorted(directory.rglob("saved_model.pb"))
    variables = [path for graph in graphs for path in sorted((graph.parent / "variables").rglob("*")) if path.is_file()]
    return graphs + variables


def _difference(path: Path, digest: str) -> str | None:
    try:
        if _sha256(path) == digest:
            return None
        return f"{path}: differs from what was exported (see {NAME}); copy or export the model again"
    except OSError as error:
        return f"{path}: listed in {NAME}, but can't be read ({error.strerror}); copy or export the model again"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
