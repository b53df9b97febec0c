"""Checkpoint files: written beside and renamed, their checksum in their name, damaged ones passed over.

A file is called ``<step>-<checksum>.npz``; what stands under such a name is whole, or does not match it.
"""

import dataclasses
import io
import json
import logging
from pathlib import Path

import numpy as np

from sentiment_tf.system import disk

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
      arrays: by name.
      record: everything else, JSON-able.
    """

    arrays: dict[str, np.ndarray]
    record: dict


def write(folder: Path, *, step: int, arrays: dict[str, np.ndarray], record: dict) -> Path:
    """Writes a checkpoint that is there whole, or not at all, whatever happens meanwhile.

    Args:
      folder: made where it is missing.
      step: of training, counted over the whole run; the greatest is the newest.
      arrays: numbers only.
      record: JSON-able.

    Returns:
      The file.

    Raises:
      OSError: it cannot be written; older checkpoints stand as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:09d}.npz"
    return disk.atomic_write(path, lambda file: _save(file, Checkpoint(arrays, record)), with_checksum=True)


def read_newest(folder: Path) -> Checkpoint | None:
    """Returns the newest checkpoint that is whole, or None; damaged ones are told of and passed over."""
    found = files(folder)
    for path in found:
        try:
            if disk.checksum(path) == path.stem.split("-")[1]:
                return _load(path)
        except OSError:
            pass
        instead = "it starts afresh" if path == found[-1] else "the one before it is used"
        log.warning("%s: this checkpoint is damaged; %s", path, instead)
    return None


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns what its file would hold."""
    file = io.BytesIO()
    _save(file, checkpoint)
    return file.getvalue()


def from_bytes(content: bytes) -> Checkpoint:
    """Returns the checkpoint of `to_bytes`."""
    return _load(io.BytesIO(content))


def files(folder: Path) -> list[Path]:
    """Returns a folder's checkpoints, the newest first."""
    return sorted(folder.glob("[0-9]*-*.npz"), reverse=True)


def keep(folder: Path, *, newest: Path, steps: set[int]) -> None:
    """Deletes all checkpoints but the newest and those of certain steps."""
    for path in files(folder):
        if path != newest and int(path.stem.split("-")[0]) not in steps:
            path.unlink()


def _save(file, checkpoint: Checkpoint) -> None:
    record = np.frombuffer(json.dumps(checkpoint.record).encode(), np.uint8)
    np.savez(file, record=record, **checkpoint.arrays)


def _load(file) -> Checkpoint:
    with np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    return Checkpoint(arrays, json.loads(arrays.pop("record").tobytes()))
