"""What a run writes down about itself, for programs to read."""

import csv
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import sentiment_tf

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-text", "transformers", "datasets", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Returns the version of everything that may change a result."""
    found = {"sentiment_tf": sentiment_tf.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def commit() -> str | None:
    """Returns the commit of the checkout that runs, with ``-dirty`` where it was changed; None outside one."""
    folder = Path(__file__).parent
    call = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def hardware() -> dict[str, str | int]:
    """Returns the processor's name and how many cores the process may use."""
    from sentiment_tf.system.runtime import cores

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
    """Writes one line per epoch, of what a second run of the same command gives again: no clock times."""
    columns = [name for name in rows[0] if name != "seconds"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
