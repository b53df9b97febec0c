"""A Ray cluster of several nodes on this machine, and the processes of a node to kill."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from tests.support.addresses import free_addresses

_RAY = str(Path(sys.executable).with_name("ray"))
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


class Cluster:
    """Nodes of one CPU each.

    Attributes:
      address: host:port of the head.
      nodes: the process of each node; the head's is the first.
    """

    def __init__(self, folder: str):
        (self.address,), self.nodes = free_addresses(1), []
        self._folder = folder

    def add_node(self, *, cpus: int = 1, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        head = ["--head", f"--port={self.address.split(':')[1]}", "--include-dashboard=false"]
        head += [f"--temp-dir={self._folder}"]
        call = [_RAY, "start", "--block", f"--num-cpus={cpus}", "--object-store-memory=100000000"]
        call += [f"--address={self.address}"] if self.nodes else head
        node = subprocess.Popen(
            call,
            start_new_session=True,
            env=os.environ | ENVIRONMENT | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.nodes.append(node)

    def kill_node(self, number: int) -> None:
        """Kills every process of a node, as a power cut does."""
        kill_tree(self.nodes.pop(number))

    def workers(self) -> list[int]:
        """Process ids of the actors that are answering."""
        return [pid for node in self.nodes for pid in descendants(node.pid) if is_worker(pid)]

    def stop(self) -> None:
        for node in reversed(self.nodes):
            kill_tree(node)
        self.nodes = []


@contextlib.contextmanager
def cluster(*, nodes: int) -> Iterator[Cluster]:
    # Ray's sockets are files in its folder, and their names must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Cluster(folder)
        try:
            for _ in range(nodes):
                made.add_node()
            yield made
        finally:
            made.stop()


def descendants(pid: int) -> list[int]:
    """Returns the ids of a process's children, their children and so on."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def is_worker(pid: int) -> bool:
    """Whether a process is an actor of a scoring job."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Worker")
    return False


def kill_tree(process: subprocess.Popen) -> None:
    """Kills a process and all its descendants."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
