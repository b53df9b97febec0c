"""Provenance of a run: versions, commit and hardware, and files for other programs."""

import csv
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import sentiment_tf
from sentiment_tf.system.runtime import cores

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-text", "transformers", "datasets", "numpy", "scikit-learn")


def versions() -> dict[str, str | None]:
    """Returns the version of everything that may change a result."""
    own = {"sentiment_tf": sentiment_tf.__version__, "python": platform.python_version()}
    return own | {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # another package provides the module, such as tensorflow-cpu
        return getattr(sys.modules.get(package.replace("-", "_")), "__version__", None)


def commit() -> str | None:
    """Returns the commit of this checkout, with ``-dirty`` if files were changed; None outside a checkout."""
    folder = Path(__file__).parent
    call = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, str | int]:
    """Returns the processor's name and the number of cores that the process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return {"processor": name, "cores": cores()}


def write_json(path: Path, content: dict) -> None:
    """Writes a dict as readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes one line per epoch, without clock times: a second run of the same command writes the same file."""
    columns = [name for name in rows[0] if name != "seconds"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
