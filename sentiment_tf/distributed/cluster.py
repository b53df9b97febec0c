"""The workers of a distributed run, as TF_CONFIG lists them, and waiting for all of them at the start."""

import asyncio
import contextlib
import dataclasses
import json
import os
import socket

from sentiment_tf.errors import UserError

_READY = b"ready\n"
_RETRY_SECONDS = 0.2
_CONNECT_SECONDS = 1.0  # a slower attempt is repeated: the system's own repetitions come ever more rarely


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
      addresses: ``host:port`` of each worker, the chief's first.
      index: Index of this process in ``addresses``.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.index == 0


def from_environment(strategy: str = "auto") -> Cluster | None:
    """Returns the cluster that TF_CONFIG describes, or None if it is unset or lists a single worker.

    Args:
      strategy: The run's ``--strategy``; ``default``, ``mirrored`` and ``tpu`` ignore TF_CONFIG.

    Raises:
      UserError: TF_CONFIG is not a valid description of a cluster.
    """
    text = os.environ.get("TF_CONFIG")
    if not text or strategy not in ("auto", "multi_worker"):
        return None
    form = 'pass {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": n}}'
    try:
        config = json.loads(text)
        if not config.get("cluster"):
            return None
        jobs, task = config["cluster"], config["task"]
        addresses = (*jobs.get("chief", ()), *jobs["worker"])
        index = int(task["index"]) + (len(jobs.get("chief", ())) if task["type"] == "worker" else 0)
        known = set(jobs) <= {"chief", "worker"} and task["type"] in jobs and 0 <= index < len(addresses)
        ports = [int(address.rpartition(":")[2]) for address in addresses]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"TF_CONFIG={text}: cannot be read; {form}") from None
    if not known or not all(0 < port < 65536 for port in ports):
        raise UserError(f"TF_CONFIG={text}: does not describe this worker; {form}")
    return Cluster(addresses, index) if len(addresses) > 1 else None


def wait_for_all(cluster: Cluster, *, timeout: float) -> None:
    """Returns once every worker is connected to every other, on the addresses that TensorFlow uses afterwards.

    TensorFlow itself would wait without a limit and without a message.

    Args:
      cluster: The cluster and this process in it.
      timeout: Seconds.

    Raises:
      UserError: A worker did not start in time, or this worker cannot listen on its address.
    """
    asyncio.run(_connect_all(cluster, timeout))


async def _connect_all(cluster: Cluster, timeout: float) -> None:
    """Connects to every other worker until it answers ``ready``, which it does once all workers reached it.

    A connection that breaks before the answer means that the worker has ended; the next one may find it restarted.
    """
    workers = len(cluster.addresses)
    greetings = [b"sentiment_tf worker %d of %d\n" % (index, workers) for index in range(workers)]
    others = set(range(workers)) - {cluster.index}
    heard, connected, ready, heard_all = set(), set(), set(), asyncio.Event()

    async def answer(reader, writer):
        """Takes one worker's greeting, and answers once all have greeted."""
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            greeting = await reader.readline()
            if greeting not in greetings:  # from another program
                return
            heard.add(greetings.index(greeting))
            if heard >= others:
                heard_all.set()
            await heard_all.wait()
            writer.write(_READY)

    async def reach(index):
        """Greets one worker again and again until it answers."""
        host, _, port = cluster.addresses[index].rpartition(":")
        while True:
            with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
                reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), _CONNECT_SECONDS)
                connected.add(index)
                with contextlib.closing(writer):
                    writer.write(greetings[cluster.index])
                    if await reader.readline() == _READY:
                        ready.add(index)
                        return
            connected.discard(index)
            await asyncio.sleep(_RETRY_SECONDS)

    # If the queue is full, the system delays new connections by seconds: all workers connect at once.
    server = await asyncio.start_server(answer, sock=_listen(cluster), backlog=128 + 4 * len(others))
    tasks = [asyncio.create_task(work) for work in (heard_all.wait(), *map(reach, others))]
    done, pending = await asyncio.wait(tasks, timeout=timeout)
    server.close()
    if pending:
        missing = sorted(others - (heard & connected) or others - ready)
        named = ", ".join(f"worker {index} ({cluster.addresses[index]})" for index in missing)
        raise UserError(
            f"--startup_timeout={timeout:g}: not started or not reachable after so many seconds: {named}; "
            "start it (if it has ended, it printed the reason), correct TF_CONFIG, or wait longer"
        )
    for task in done:
        task.result()


def _listen(cluster: Cluster) -> socket.socket:
    address = cluster.addresses[cluster.index]
    try:
        return socket.create_server(("", int(address.rpartition(":")[2])))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: worker {cluster.index} cannot listen on {address} ({error.strerror}); choose a free port"
        ) from error
