"""A run's folder: complete or absent, never half-written; beside it, what an unfinished run goes on from."""

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
    """Where a run is built, and where it stands when it is done.

    Attributes:
      final: ``<output_dir>/<run_name>``; appears by one rename, whole.
      building: a hidden folder beside it, on the same file system.
      checkpoints: in that, a folder per training; gone when the run is finished.
    """

    def __init__(self, output_dir: str, run_name: str):
        """Names the folders; makes nothing."""
        self.final = Path(output_dir) / run_name
        self.building = self.final.with_name(f".{run_name}.partial")
        self.checkpoints = self.building / "checkpoints"
        self._previous = self.final.with_name(f".{run_name}.previous")
        self._lock = self.final.with_name(f".{run_name}.lock")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Refuses a second process that builds the same run; the lock of a killed process is released with it.

        Raises:
          UserError: Another process builds this run, or the folder cannot be written.
        """
        folder = self._lock.parent
        made = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = disk.acquire_lock(self._lock)
        except filelock.Timeout:
            raise UserError(
                f"{self.final}: another process is training this run now; wait for it or pass another --run_name"
            ) from None
        except OSError as error:
            raise UserError(
                f"--output_dir={self.final.parent}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        if not lock.is_locked:
            log.warning("%s: this file system supports no locks; do not start the same run twice at a time", folder)
        try:
            yield
        finally:
            self._lock.unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):  # a folder that holds a run is kept; after a mistake all are empty
                for path in made:
                    path.rmdir()

    def is_finished(self, config: TrainConfig, *, recover: bool = True) -> bool:
        """Returns whether this very run stands there already.

        Args:
          config: Settings of the run.
          recover: whether this process holds the lock and may finish a swap that was cut off; one that does not is
            another worker, which may have what is read and written in other places.

        Raises:
          UserError: the place holds another run, or something that is no run.
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
                f"{self.final}: a run with other settings is there ({'; '.join(others)}); "
                "pass --overwrite to replace it or another --run_name"
            )
        return True

    def begin(self, config: TrainConfig) -> None:
        """Makes a folder to build in: an empty one, or that of a killed run with its checkpoints and curves.

        Raises:
          UserError: an unfinished run with other settings is there.
        """
        if not self._goes_on(config):
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir(parents=True)
            return
        log.info("%s: an unfinished run is there; it goes on from its last checkpoint", self.building)
        for path in self.building.iterdir():
            if path.name not in (*OUTLIVES_A_KILL, BEGUN_WITH):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin_training(self, config: TrainConfig, fingerprints: dict[str, str]) -> None:
        """Writes down what this training is, or checks that a killed one goes on with the same.

        Args:
          config: Settings of the run.
          fingerprints: of what the settings only name, by that name: data, model.

        Raises:
          UserError: something has changed since the killed run began.
        """
        begun = {"config": dataclasses.asdict(config), "fingerprints": fingerprints}
        if self.has_checkpoints():
            recorded = json.loads((self.building / BEGUN_WITH).read_text())["fingerprints"]
            changed = [name for name in fingerprints if recorded.get(name) != fingerprints[name]]
            if not changed:
                return
            changed_message = f"{self.building}: changed since this unfinished run began: {', '.join(changed)}"
            if not config.overwrite:
                raise UserError(f"{changed_message}; put it back to go on, or pass --overwrite to start afresh")
            log.info("%s; it starts afresh", changed_message)
            for name in OUTLIVES_A_KILL:
                shutil.rmtree(self.building / name, ignore_errors=True)
        disk.atomic_write(self.building / BEGUN_WITH, lambda file: file.write(json.dumps(begun, indent=2).encode()))

    def has_checkpoints(self) -> bool:
        """Returns whether a killed run could go on."""
        return any(self.checkpoints.glob("*/*.npz"))

    def version_folder(self) -> Path:
        """Returns the SavedModel's folder to build: TF Serving's layout, one above what it replaces."""
        versions = [int(path.name) for path in self.final.glob("[0-9]*") if path.name.isdecimal()]
        return self.building / str(max(versions, default=0) + 1)

    def complete(self) -> None:
        """Swaps the built folder in; what it replaces, and the checkpoints, are deleted after."""
        disk.sync(self.building)
        if self.final.exists():
            os.rename(self.final, self._previous)
        os.rename(self.building, self.final)
        disk.sync_entries(self.final.parent)
        self._tidy()

    def discard(self) -> None:
        """Deletes what was built so far."""
        shutil.rmtree(self.building, ignore_errors=True)

    def _recover(self) -> None:
        """Finishes a swap that was cut off between its two renames."""
        if self._previous.exists() and not self.final.exists():
            os.rename(self._previous, self.final)

    def _tidy(self) -> None:
        """Deletes what a finished run no longer needs; a run cut off in here is tidied by the next one."""
        shutil.rmtree(self._previous, ignore_errors=True)
        shutil.rmtree(self.final / self.checkpoints.name, ignore_errors=True)
        (self.final / BEGUN_WITH).unlink(missing_ok=True)

    def _goes_on(self, config: TrainConfig) -> bool:
        """Returns whether an unfinished run of these settings is there; without a checkpoint it is worth nothing."""
        if not self.has_checkpoints():
            return False
        try:
            recorded = json.loads((self.building / BEGUN_WITH).read_text())["config"]
        except (OSError, ValueError, KeyError):
            if config.overwrite:
                return False
            raise UserError(
                f"{self.building}: an unfinished run is there, but not what it was begun with ({BEGUN_WITH}); "
                "pass --overwrite to start afresh or another --run_name"
            ) from None
        others = differences(config, recorded)
        if not others and (recorded["overwrite"] or not config.overwrite):
            return True
        if config.overwrite:
            return False
        raise UserError(
            f"{self.building}: an unfinished run with other settings is there ({'; '.join(others)}); "
            "repeat its settings to go on, pass --overwrite to start afresh or another --run_name"
        )

    def _record(self) -> dict:
        try:
            record = json.loads((self.final / RECORD).read_text())
            record["config"]["model"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.final}: holds something that is no run of this program; move it away or pass another --run_name"
            ) from None
        return record
