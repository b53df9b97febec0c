"""MANIFEST: the SHA-256 of each file below a folder, in the format that `sha256sum --check` reads."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from sentiment_tf.errors import UserError

NAME = "MANIFEST"
_BLOCK = 1 << 16  # bytes read at once


def write(directory: str | os.PathLike, *, folders: Iterable[str] = (".",)) -> None:
    """Writes `directory`/MANIFEST over all files below some of its folders, by default all, itself excepted."""
    directory = Path(directory)
    found = {path for folder in folders for path in (directory / folder).rglob("*") if path.is_file()}
    files = sorted(found - {directory / NAME})
    lines = [f"{_sha256(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    (directory / NAME).write_text("".join(lines), encoding="utf-8")


def check_files(directory: str | os.PathLike, files: Iterable[Path]) -> None:
    """Compares a few files with the MANIFEST of the folder that they belong to; without one nothing is compared.

    Raises:
      UserError: names each file that differs or is not listed.
    """
    directory = Path(directory)
    if not (directory / NAME).is_file():
        return
    digests = _read(directory)
    names = {path: path.relative_to(directory).as_posix() for path in files}
    problems = [
        _difference(path, digests[name]) if name in digests else _not_listed(path, directory)
        for path, name in names.items()
    ]
    if any(problems):
        raise UserError(*filter(None, problems))


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
    digests = _read(directory)
    problems = [problem for name in digests if (problem := _difference(directory / name, digests[name]))]
    problems += [
        _not_listed(path, directory)
        for path in _of_saved_models(directory)
        if path.relative_to(directory).as_posix() not in digests
    ]
    if problems:
        raise UserError(*problems)
    return len(digests)


def _read(directory: Path) -> dict[str, str]:
    """Returns {file: SHA-256}."""
    try:
        lines = (directory / NAME).read_text(encoding="utf-8").splitlines()
        listed = [line.split("  ", 1) for line in lines]
        digests = {name: digest for digest, name in listed}
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / NAME}: can't be read ({error}); export the model again") from None
    if outside := [name for name in digests if ".." in Path(name).parts or Path(name).is_absolute()]:
        raise UserError(
            f"{directory / NAME}: lists {outside[0]!r}, which is outside of the folder; do not use this model"
        )
    if not digests:
        raise UserError(f"{directory / NAME}: lists no files; copy or export the model again")
    return digests


def _not_listed(path: Path, directory: Path) -> str:
    return f"{path}: is not listed in {directory / NAME}; copy or export the model again"


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
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
