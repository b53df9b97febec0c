"""Checkpoint files: written under a temporary name and renamed; damaged files are skipped.

A file is named ``<step>-<checksum>.npz``, so that a damaged one does not match its own name.
"""

import dataclasses
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_tf.system import disk

log = logging.getLogger("sentiment_tf")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a file.

    Attributes:
      arrays: Arrays by name.
      record: Everything else, JSON-able.
    """

    arrays: dict[str, np.ndarray]
    record: dict


def write(folder: Path, *, step: int, arrays: dict[str, np.ndarray], record: dict) -> Path:
    """Writes a checkpoint completely or not at all.

    Args:
      folder: Created if it does not exist.
      step: Training step, counted over the whole run; the largest is the newest.
      arrays: Arrays of numbers by name.
      record: Everything else, JSON-able.

    Returns:
      The file.

    Raises:
      OSError: It cannot be written; older checkpoints are unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:09d}.npz"
    return disk.atomic_write(path, lambda file: _save(file, Checkpoint(arrays, record)), with_checksum=True)


def read_newest(folder: Path) -> Checkpoint | None:
    """Returns the newest undamaged checkpoint, or None; logs a warning for each damaged one."""
    found = files(folder)
    for path in found:
        try:
            if disk.checksum(path) == path.stem.split("-")[1]:
                return _load(path)
        except OSError:
            pass
        instead = "training starts afresh" if path == found[-1] else "the one before it is used"
        log.warning("%s: this checkpoint is damaged; %s", path, instead)
    return None


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns the content of its file."""
    file = io.BytesIO()
    _save(file, checkpoint)
    return file.getvalue()


def from_bytes(content: bytes) -> Checkpoint:
    """Returns the checkpoint of `to_bytes`."""
    return _load(io.BytesIO(content))


def files(folder: Path) -> list[Path]:
    """Returns a folder's checkpoints, the newest first."""
    return sorted(folder.glob("[0-9]*-*.npz"), reverse=True)


def step_of(path: Path) -> int:
    """Returns the step of a checkpoint file."""
    return int(path.stem.split("-")[0])


def keep(folder: Path, *, newest: Path, steps: set[int]) -> None:
    """Deletes all checkpoints except the newest and those of the given steps."""
    for path in files(folder):
        if path != newest and step_of(path) not in steps:
            path.unlink()


def _save(file, checkpoint: Checkpoint) -> None:
    record = np.frombuffer(json.dumps(checkpoint.record).encode(), np.uint8)
    arrays: dict[str, Any] = checkpoint.arrays
    np.savez(file, record=record, **arrays)


def _load(file) -> Checkpoint:
    with np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    return Checkpoint(arrays, json.loads(arrays.pop("record").tobytes()))
