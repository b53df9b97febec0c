"""Says in one line which programs `make interop` lacks that it cannot install itself.

    python tests/interop/tools.py

Run by any Python, before there is an environment.
"""

import shutil
import subprocess
import sys

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
LEAST_NODE = (20, 9)  # of package.json


def find_chromium() -> str | None:
    """Returns the browser's path, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def lacking() -> list[str]:
    """Returns the Debian packages that are to be installed."""
    packages = [package for program, package in (("node", "nodejs"), ("npm", "npm")) if shutil.which(program) is None]
    return packages + ["chromium"] * (find_chromium() is None)


def node_version() -> tuple[int, ...]:
    printed = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, printed.strip().removeprefix("v").split(".")))


def main() -> str | None:
    if packages := lacking():
        return f"make interop lacks {', '.join(packages)}; on Debian: apt-get install {' '.join(packages)}"
    if (version := node_version()) < LEAST_NODE:
        found, least = (".".join(map(str, numbers)) for numbers in (version, LEAST_NODE))
        return f"make interop needs Node {least} or newer, this is {found}; Debian 13 has it: apt-get install nodejs"
    return None


if __name__ == "__main__":
    sys.exit(main())
