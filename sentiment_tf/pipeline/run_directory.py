"""A run's folder, which is complete or absent; and the hidden folder from which an unfinished run resumes."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from sentiment_tf.config import INCIDENTAL, OF_ONE_MACHINE, TrainConfig, differences
from sentiment_tf.errors import UserError
from sentiment_tf.system import disk

RECORD = "run.json"
BEGUN_WITH = "begun.json"
OUTLIVES_A_KILL = ("checkpoints", "logs")

log = logging.getLogger("sentiment_tf")


class RunDirectory:
    """The folder of a finished run, and the folder in which the run is built.

    Attributes:
      final: ``<output_dir>/<run_name>``; created by a single rename, when it is complete.
      building: A hidden folder beside it, on the same file system.
      checkpoints: Folder in ``building`` with one folder per training; deleted when the run is finished.
    """

    def __init__(self, output_dir: str, run_name: str):
        """Sets the paths; creates nothing."""
        self.final = Path(output_dir) / run_name
        self.building = self.final.with_name(f".{run_name}.partial")
        self.checkpoints = self.building / "checkpoints"
        self._previous = self.final.with_name(f".{run_name}.previous")
        self._lock = self.final.with_name(f".{run_name}.lock")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run's lock; the lock of a killed process is released automatically.

        Raises:
          UserError: Another process is training this run, or the folder cannot be written.
        """
        folder = self._lock.parent
        made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = disk.acquire_lock(self._lock)
        except filelock.Timeout:
            raise UserError(
                f"{self.final}: another process is training this run; wait for it or pass another --run_name"
            ) from None
        except OSError as error:
            raise UserError(
                f"--output_dir={self.final.parent}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        if not lock.is_locked:
            log.warning("%s: this file system has no locks; do not start the same run twice at the same time", folder)
        try:
            yield
        finally:
            self._lock.unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):  # rmdir keeps a folder that holds a run; after a mistake all are empty
                for path in made:
                    path.rmdir()

    def is_finished(self, config: TrainConfig, *, recover: bool = True) -> bool:
        """Returns whether the run with these settings is finished.

        Args:
          config: Settings of the run.
          recover: Whether this process holds the lock and may complete an interrupted replacement. A worker that is not
            the chief does not; its paths may differ from the chief's.

        Raises:
          UserError: The folder holds another run, or something that is not a run.
        """
        if recover:
            self._recover()
        if not self.final.exists():
            return False
        recorded = self._record()
        if recover:
            self._tidy()
        if config.overwrite:
            return False
        may_differ = INCIDENTAL if recover else (*INCIDENTAL, *OF_ONE_MACHINE)
        flags = recorded.get("flags", recorded["config"])
        if others := differences(config, flags, recorded["config"], but=may_differ):
            raise UserError(
                f"{self.final}: already holds a run with other settings ({'; '.join(others)}); "
                "pass --overwrite to replace it or another --run_name"
            )
        return True

    def begin(self, config: TrainConfig) -> None:
        """Creates the folder to build in, or reuses that of a killed run with its checkpoints and TensorBoard logs.

        Raises:
          UserError: There is an unfinished run with other settings.
        """
        if not self._goes_on(config):
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir(parents=True)
            return
        log.info("%s: found an unfinished run; resuming from its last checkpoint", self.building)
        for path in self.building.iterdir():
            if path.name not in (*OUTLIVES_A_KILL, BEGUN_WITH):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin_training(self, config: TrainConfig, fingerprints: dict[str, str]) -> None:
        """Records settings and fingerprints of this training; if it resumes, checks that they are unchanged.

        Args:
          config: Settings of the run.
          fingerprints: Digests of data and model weights, by name.

        Raises:
          UserError: Data or model have changed since the killed run began.
        """
        begun = {"config": dataclasses.asdict(config), "fingerprints": fingerprints}
        if self.has_checkpoints():
            recorded = json.loads((self.building / BEGUN_WITH).read_text())["fingerprints"]
            changed = [name for name in fingerprints if recorded.get(name) != fingerprints[name]]
            if not changed:
                return
            changed_message = f"{self.building}: changed since this unfinished run began: {', '.join(changed)}"
            if not config.overwrite:
                raise UserError(f"{changed_message}; restore it to resume, or pass --overwrite to start again")
            log.info("%s; starting again", changed_message)
            for name in OUTLIVES_A_KILL:
                shutil.rmtree(self.building / name, ignore_errors=True)
        disk.atomic_write(self.building / BEGUN_WITH, lambda file: file.write(json.dumps(begun, indent=2).encode()))

    def has_checkpoints(self) -> bool:
        """Returns whether there is a checkpoint to resume from."""
        return any(self.checkpoints.glob("*/*.npz"))

    def version_folder(self) -> Path:
        """Returns the SavedModel's folder in TF Serving's layout: one version above the highest existing one."""
        versions = [int(path.name) for path in self.final.glob("[0-9]*") if path.name.isdecimal()]
        return self.building / str(max(versions, default=0) + 1)

    def complete(self) -> None:
        """Moves the built folder to its final place, then deletes the run it replaces and the checkpoints."""
        disk.sync(self.building)
        if self.final.exists():
            os.rename(self.final, self._previous)
        os.rename(self.building, self.final)
        disk.sync_entries(self.final.parent)
        self._tidy()

    def discard(self) -> None:
        """Deletes the folder that was being built."""
        shutil.rmtree(self.building, ignore_errors=True)

    def _recover(self) -> None:
        """Undoes a replacement that was interrupted between its two renames."""
        if self._previous.exists() and not self.final.exists():
            os.rename(self._previous, self.final)

    def _tidy(self) -> None:
        """Deletes what a finished run no longer needs; if this is interrupted, the next run does it."""
        shutil.rmtree(self._previous, ignore_errors=True)
        shutil.rmtree(self.final / self.checkpoints.name, ignore_errors=True)
        (self.final / BEGUN_WITH).unlink(missing_ok=True)

    def _goes_on(self, config: TrainConfig) -> bool:
        """Returns whether there is an unfinished run with these settings and a checkpoint."""
        if not self.has_checkpoints():
            return False
        try:
            recorded = json.loads((self.building / BEGUN_WITH).read_text())["config"]
        except (OSError, ValueError, KeyError):
            if config.overwrite:
                return False
            raise UserError(
                f"{self.building}: holds an unfinished run without its settings ({BEGUN_WITH}); "
                "pass --overwrite to start again or another --run_name"
            ) from None
        others = differences(config, recorded)
        if not others and (recorded["overwrite"] or not config.overwrite):
            return True
        if config.overwrite:
            return False
        raise UserError(
            f"{self.building}: holds an unfinished run with other settings ({'; '.join(others)}); "
            "pass its settings to resume it, --overwrite to start again, or another --run_name"
        )

    def _record(self) -> dict:
        try:
            record = json.loads((self.final / RECORD).read_text())
            record["config"]["model"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.final}: is not a run of this program; move it away or pass another --run_name"
            ) from None
        return record
