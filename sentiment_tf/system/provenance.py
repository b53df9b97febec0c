"""Provenance of a run: versions, commit, hardware; and the files that hold run metadata."""

import csv
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import sentiment_tf
from sentiment_tf.system.runtime import cores

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-text", "transformers", "datasets", "numpy", "scikit-learn")


def versions() -> dict[str, str | None]:
    """Returns the version of every package that may change a result; None for one that is not installed."""
    found = {"sentiment_tf": sentiment_tf.__version__, "python": platform.python_version()}
    return found | {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Other distributions provide the same module, such as tensorflow-cpu and tensorflow-tpu.
        providers = importlib.metadata.packages_distributions().get(package.replace("-", "_"), [])
        return next(map(importlib.metadata.version, providers), None)


def commit() -> str | None:
    """Returns the checkout's commit, with ``-dirty`` if files were changed; None outside a git checkout."""
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
    """Writes a CSV line per epoch, without times: the same command with the same seed writes the same file."""
    columns = [name for name in rows[0] if name != "seconds"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
