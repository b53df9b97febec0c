"""A run's folder: complete or absent, never half-written."""

import json
import os
import shutil
from pathlib import Path

from sentiment_tf.config import TrainConfig, differences
from sentiment_tf.errors import UserError

RECORD = "run.json"


class RunDirectory:
    """Where a run is built, and where it stands when it is done.

    Attributes:
      final: ``<output_dir>/<run_name>``; appears by one rename, whole.
      building: a hidden folder beside it, on the same file system.
    """

    def __init__(self, output_dir: str, run_name: str):
        """Names the folders; makes nothing."""
        self.final = Path(output_dir) / run_name
        self.building = self.final.with_name(f".{run_name}.partial")
        self._previous = self.final.with_name(f".{run_name}.previous")

    def is_finished(self, config: TrainConfig) -> bool:
        """Returns whether this very run stands there already.

        Raises:
          UserError: the place holds another run, or something that is no run.
        """
        self._recover()
        if not self.final.exists():
            return False
        recorded = self._record()
        if config.overwrite:
            return False
        if others := differences(config, recorded["config"]):
            raise UserError(
                f"{self.final}: a run with other settings is there ({'; '.join(others)}); "
                "pass --overwrite to replace it or another --run_name"
            )
        return True

    def begin(self) -> None:
        """Makes an empty folder to build in.

        Raises:
          UserError: the place cannot be written.
        """
        try:
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"--output_dir={self.final.parent}: cannot be written ({error.strerror}); choose another folder"
            ) from error

    def version_folder(self) -> Path:
        """Returns the SavedModel's folder to build: TF Serving's layout, one above what it replaces."""
        versions = [int(path.name) for path in self.final.glob("[0-9]*") if path.name.isdecimal()]
        return self.building / str(max(versions, default=0) + 1)

    def complete(self) -> None:
        """Swaps the built folder in; what it replaces is deleted after."""
        if self.final.exists():
            os.rename(self.final, self._previous)
        os.rename(self.building, self.final)
        shutil.rmtree(self._previous, ignore_errors=True)

    def discard(self) -> None:
        """Deletes what was built so far."""
        shutil.rmtree(self.building, ignore_errors=True)

    def _recover(self) -> None:
        """Finishes a swap that was cut off between its two renames."""
        if self._previous.exists() and not self.final.exists():
            os.rename(self._previous, self.final)
        shutil.rmtree(self._previous, ignore_errors=True)

    def _record(self) -> dict:
        try:
            record = json.loads((self.final / RECORD).read_text())
            record["config"]["model"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.final}: holds something that is no run of this program; move it away or pass another --run_name"
            ) from None
        return record
