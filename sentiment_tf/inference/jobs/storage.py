"""Files on this machine, in an object store or in HDFS, through the file systems of pyarrow and fsspec.

A file is written under another name and renamed when it is whole. On an object store a rename is a copy, which appears
whole or not at all.
"""

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import pyarrow.fs

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.system import disk

PARTIAL = "_partial"  # folder of files that are being written
_WILDCARDS = re.compile(r"[*?[]")
_GO_ON = "start the same command again when that is put right"


@dataclasses.dataclass(frozen=True)
class Place:
    """A file or folder. It can be sent to other processes.

    Attributes:
      system: The file system.
      path: In that file system.
    """

    system: pyarrow.fs.FileSystem
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.system, posixpath.join(self.path, name))

    @property
    def parent(self) -> "Place":
        """The folder around it."""
        return Place(self.system, posixpath.dirname(self.path))

    def info(self) -> pyarrow.fs.FileInfo:
        """Returns type, size and time of modification."""
        return self.system.get_file_info(self.path)

    def files(self, *, recursive: bool) -> list[tuple[str, pyarrow.fs.FileInfo]]:
        """Returns the files below a folder, sorted by name, with their names relative to it; none if it is missing.

        Names that begin with ``_`` or ``.`` are left out, as Spark, Hive and pyarrow do.
        """
        selector = pyarrow.fs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        found = [
            (posixpath.relpath(info.path, self.path), info)
            for info in self.system.get_file_info(selector)
            if info.type == pyarrow.fs.FileType.File
        ]
        return sorted(item for item in found if not any(part[0] in "_." for part in item[0].split("/")))


def locate(uri: str, flag: str) -> Place:
    """Returns the place that a path or URI means.

    Args:
      uri: A path of this machine, or a URI that pyarrow (``s3://``, ``gs://``, ``hdfs://``, …) or fsspec knows. Options
        of pyarrow's file systems may follow, as in ``s3://bucket/folder?region=eu-west-1``.
      flag: Flag that named it.

    Raises:
      UserError: No file system has such a scheme, or its package or settings are missing.
    """
    scheme, netloc, path, query, _ = urlsplit(uri, allow_fragments=False)
    if "://" not in uri or scheme in ("file", "local"):
        return Place(pyarrow.fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path if scheme else uri)))
    try:
        system, root = pyarrow.fs.FileSystem.from_uri(f"{scheme}://{netloc}{'?' * bool(query)}{query}")
        return Place(system, posixpath.join(root, path.strip("/")))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return _locate_with_fsspec(uri, flag, scheme, error)
    except OSError as error:  # hdfs:// without Hadoop's libraries, for example
        raise UserError(f"{flag}={uri}: {first_line(error)}") from None


def _locate_with_fsspec(uri: str, flag: str, scheme: str, error: Exception) -> Place:
    if scheme not in fsspec.available_protocols():
        raise UserError(
            f"{flag}={uri}: {first_line(error)}; pass a path, s3://, gs://, hdfs:// or another URI"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError, OSError) as problem:
        raise UserError(f"{flag}={uri}: {first_line(problem)}") from None
    return Place(pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(system)), path)


def find_files(uri: str) -> tuple[Place, list[tuple[str, pyarrow.fs.FileInfo]]]:
    """Returns the files that ``--input`` means.

    Args:
      uri: A file, a folder (then every file below it), or a pattern with ``*``, ``?`` (in paths only), ``[…]`` or
        ``**`` for any number of folders.

    Returns:
      (the folder that holds them all, (name relative to that folder, size and time) of each), sorted by name.

    Raises:
      UserError: The place is out of reach, or no file matches.
    """
    root, pattern = _split_pattern(uri)
    place = locate(root, "--input")
    with reported(f"--input={uri}"):
        if pattern is None and place.info().type == pyarrow.fs.FileType.File:
            return place.parent, [(posixpath.basename(place.path), place.info())]
        parts = pattern.split("/") if pattern else ["**", "*"]
        files = place.files(recursive=len(parts) > 1 or parts[0] == "**")
    matches = _matcher(parts)
    files = [(name, info) for name, info in files if matches(name)]
    if not files:
        raise UserError(f"--input={uri}: no file matches; pass a file, a folder, or a pattern as in 'reviews/*.csv'")
    return place, files


def find_root(uri: str) -> Place:
    """Returns the folder that `find_files` found the files in; the files may be gone."""
    root, pattern = _split_pattern(uri)
    place = locate(root, "--input")
    return place.parent if pattern is None and place.info().type != pyarrow.fs.FileType.Directory else place


def _split_pattern(uri: str) -> tuple[str, str | None]:
    """Cuts a URI before its first component with a wildcard: (folder with the query, pattern or None)."""
    is_uri = "://" in uri
    body, mark, query = uri.partition("?") if is_uri else (uri, "", "")
    parts = body.split("/")
    first = next((number for number, part in enumerate(parts) if _WILDCARDS.search(part)), None)
    if first is None:
        return uri, None
    folder = "/".join(parts[:first]) or ("/" if body.startswith("/") else ".")
    return folder + mark + query, "/".join(parts[first:])


def _matcher(parts: list[str]):
    """Returns a function (name) → whether it matches the components of a pattern."""
    translated = [r"(?:[^/]+/)*" if part == "**" else _component(part) for part in parts]
    last = translated.pop() if parts[-1] != "**" else r"(?:[^/]+/)*[^/]+"
    return re.compile("".join(part if part.endswith("*") else part + "/" for part in translated) + last).fullmatch


def _component(part: str) -> str:
    """Returns fnmatch's regular expression of one component, in which a wildcard stands for no slash."""
    pieces = re.split(r"(\*|\?|\[[^]]+\])", part)
    return "(?:" + "".join({"*": "[^/]*", "?": "[^/]"}.get(piece) or _literal(piece) for piece in pieces) + ")"


def _literal(piece: str) -> str:
    return fnmatch.translate(piece)[4:-3] if piece.startswith("[") else re.escape(piece)


class PartialFile:
    """A file that gets its name when it is whole; counts and hashes what is written."""

    def __init__(self, folder: Place):
        """Creates it in ``folder``/_partial."""
        self._place = folder / PARTIAL / uuid.uuid4().hex
        self._digest, self.bytes = hashlib.sha256(), 0
        with self._reported():
            self._place.system.create_dir(self._place.parent.path, recursive=True)
            self._file = self._place.system.open_output_stream(self._place.path)

    @property
    def sha256(self) -> str:
        """Of what has been written, in hexadecimal digits."""
        return self._digest.hexdigest()

    closed = False  # pyarrow asks

    def write(self, content: bytes) -> int:
        """Appends bytes."""
        with self._reported():
            self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)
        return len(content)

    def tell(self) -> int:
        """Returns how many bytes have been written."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def rename(self, place: Place) -> None:
        """Closes the file and gives it its name; a file of that name is replaced."""
        with self._reported():
            self._file.close()
            if isinstance(place.system, pyarrow.fs.LocalFileSystem):
                disk.sync_entries(Path(self._place.path))
            place.system.create_dir(place.parent.path, recursive=True)
            place.system.move(self._place.path, place.path)

    def discard(self) -> None:
        """Deletes the file."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._file.close()
            self._place.system.delete_file(self._place.path)

    def _reported(self):
        return reported(f"--output={self._place.parent.parent.path}")


@contextlib.contextmanager
def new_file(folder: Place) -> Iterator[PartialFile]:
    """Yields a `PartialFile`; the block must rename it, else it is deleted."""
    file = PartialFile(folder)
    try:
        yield file
    except BaseException:
        file.discard()
        raise


def write_json(folder: Place, name: str, content: Any) -> None:
    """Writes ``folder``/``name``, whole or not at all."""
    with new_file(folder) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        file.rename(folder / name)


def read_json(place: Place, flag: str) -> Any:
    """Returns the content of a file of `write_json`; None if there is none.

    Raises:
      UserError: It cannot be read, or is not JSON.
    """
    try:
        with place.system.open_input_stream(place.path, compression=None) as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}: {place.path} cannot be read ({first_line(error)})") from None


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Turns an error of a file system into a `UserError` that names the flag and its value."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{what}: {first_line(error)}; {_GO_ON}") from error
