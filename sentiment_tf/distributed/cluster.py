"""The workers of a distributed run: who they are (TF_CONFIG), and waiting for all of them to be there."""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent import futures

from sentiment_tf.errors import UserError

_GREETING = b"sentiment_tf worker %d of %d\n"
_RETRY_SECONDS = 0.2
_ANSWER_SECONDS = 1.0  # to connect or to say a greeting; what takes longer is tried again
_GREETED_AT_ONCE = 16  # hosts that are not there yet take all their seconds, and must not add up


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Workers of one run.

    Attributes:
      addresses: ``host:port`` of each, the chief's first.
      index: of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.index == 0


def from_environment(strategy: str = "auto") -> Cluster | None:
    """Returns the cluster that TF_CONFIG describes, or None where it is unset or names one worker.

    Args:
      strategy: of the run; ``default``, ``mirrored`` and ``tpu`` know no other workers.

    Raises:
      UserError: TF_CONFIG is no such description.
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
        raise UserError(f"TF_CONFIG={text}: names no such worker; {form}")
    return Cluster(addresses, index) if len(addresses) > 1 else None


def wait_for_all(cluster: Cluster, *, timeout: float) -> None:
    """Returns once every worker is there: each greets each, on the addresses that TensorFlow uses afterwards.

    TensorFlow itself waits without end and without a word.

    Args:
      cluster: of this process.
      timeout: seconds.

    Raises:
      UserError: somebody did not come in time, or this worker's own address cannot be listened on.
    """
    others = {index for index in range(len(cluster.addresses)) if index != cluster.index}
    heard, reached, deadline = set(), set(), time.monotonic() + timeout
    with _listen(cluster) as listener, futures.ThreadPoolExecutor(min(len(others), _GREETED_AT_ONCE)) as pool:
        while heard != others or reached != others:
            # All of them each time: what answered may have been a worker that was about to end, and is back.
            reached |= _greet_all(cluster, others, pool)
            heard |= _hear(listener, len(cluster.addresses)) & others
            if time.monotonic() > deadline and not heard == reached == others:
                missing = [
                    f"worker {index} ({cluster.addresses[index]})" for index in sorted(others - (heard & reached))
                ]
                raise UserError(
                    f"--startup_timeout={timeout:g}: not there after so many seconds: {', '.join(missing)}; "
                    "start it (if it has ended, it has said why), correct TF_CONFIG, or wait longer"
                )
        _greet_all(cluster, others, pool)


@contextlib.contextmanager
def loss_of_a_worker_told(cluster: Cluster | None) -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is gone into one line for a person.

    Raises:
      UserError: another worker has ended before the run has.
    """
    try:
        yield
    except Exception as error:
        if cluster is None or isinstance(error, UserError):
            raise
        import tensorflow as tf  # it was loaded, or the error is not its

        gone = ("Unavailable", "Aborted", "Cancelled", "DeadlineExceeded", "Internal")
        if not isinstance(error, tuple(getattr(tf.errors, f"{name}Error") for name in gone)):
            raise
        raise UserError(
            "TF_CONFIG: another worker has ended or is out of reach, so this one must end, too; start the same "
            "command on every worker again: it goes on from the last checkpoint"
        ) from error


def _listen(cluster: Cluster) -> socket.socket:
    address = cluster.addresses[cluster.index]
    try:
        # Room for several rounds of everybody's greetings: a full queue makes those who connect wait for seconds.
        return socket.create_server(("", int(address.rpartition(":")[2])), backlog=128 + 4 * len(cluster.addresses))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: worker {cluster.index} cannot listen on {address} ({error.strerror}); choose a free port"
        ) from error


def _greet_all(cluster: Cluster, others: set[int], pool: futures.Executor) -> set[int]:
    """Returns those who could be greeted."""
    greeted = pool.map(lambda index: _greet(cluster, index), others)
    return {index for index, was_there in zip(others, greeted, strict=True) if was_there}


def _greet(cluster: Cluster, index: int) -> bool:
    host, _, port = cluster.addresses[index].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(_GREETING % (cluster.index, len(cluster.addresses)))
    except OSError:
        return False
    return True


def _hear(listener: socket.socket, workers: int) -> set[int]:
    """Returns the workers that greet within `_RETRY_SECONDS`, and until no connection is waiting any more.

    Strangers say something else, or nothing.
    """
    said, until = set(), time.monotonic() + _RETRY_SECONDS
    while True:
        listener.settimeout(max(until - time.monotonic(), 0))
        try:
            connection, _ = listener.accept()
        except OSError:
            return {index for index in range(workers) if _GREETING % (index, workers) in said}
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_ANSWER_SECONDS)
            said.add(connection.makefile("rb").readline(100))
