"""A pool of Ray actors, one per core, that answer the fragments of a job.

An actor holds a CPU as long as it lives, so nothing else here asks Ray for one: a pool of tasks and actors that share
too few CPUs waits for itself without an error. An actor that dies gives its fragment back to the queue.
"""

import collections
import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray warns about if it is not set

if os.environ.get("RAY_AUTH_TOKEN") or Path("~/.ray/auth_token").expanduser().exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster that was started here asks for it, Ray does not send it

import ray
import ray.exceptions

from sentiment_tf.errors import UserError, first_line
from sentiment_tf.inference.classifier import Classifier
from sentiment_tf.inference.jobs import fragment as fragments
from sentiment_tf.inference.jobs import model_digest
from sentiment_tf.inference.jobs.fragment import Job
from sentiment_tf.inference.jobs.plan import Fragment
from sentiment_tf.system import runtime, signals

MOST_DEATHS = 8  # of workers at one fragment, or before their first one
_OBJECT_STORE = 100 << 20  # bytes; what goes through it is small
_LOOK_EVERY = 1.0  # seconds


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of a pool.

    Attributes:
      least_workers: How many are asked for, whether the cluster has free CPUs or not.
      most_workers: How many there are at most; None for as many as there are CPUs.
      stall_timeout: Seconds without an answered row after which the job ends.
    """

    least_workers: int
    most_workers: int | None
    stall_timeout: float


@contextlib.contextmanager
def cluster(address: str | None, *, startup_timeout: float) -> Iterator[None]:
    """Connects to a Ray cluster; without an address, one is started on this machine's cores until the block ends.

    Args:
      address: ``host:port`` of the cluster's head, or ``auto`` on one of its machines.
      startup_timeout: Seconds to wait for an answer.

    Raises:
      UserError: The cluster does not answer.
    """
    if address and address != "auto":
        _wait_for_head(address, startup_timeout)
    settings = {"address": address} if address else _settings_of_this_machine()
    problem = None
    with runtime.quiet_stderr():
        try:
            ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            problem = error  # raised outside, for the messages before it say no more
    if problem and not address:
        raise UserError(f"Ray does not start on this machine: {first_line(problem)}") from problem
    if problem:
        raise UserError(
            f"--ray_address={address}: no Ray cluster answers ({first_line(problem)}); pass the host:port of its head "
            "(and its token, see RAY_AUTH_TOKEN_PATH), or leave it out to use this machine"
        ) from problem
    signals.raise_when_terminated()  # Ray has set a handler of its own
    try:
        yield
    finally:
        ray.shutdown()


def _settings_of_this_machine() -> dict:
    return {
        "address": "local",
        "num_cpus": runtime.cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }


def _wait_for_head(address: str, startup_timeout: float) -> None:
    """Waits until something listens at the address: Ray itself may wait longer, and ends with a page of text."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(f"--ray_address={address}: pass host:port, such as 10.0.0.1:6379, or auto")
    deadline = time.monotonic() + startup_timeout
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=max(deadline - time.monotonic(), 0.1)):
                return
        except (OSError, OverflowError) as error:
            if time.monotonic() + _LOOK_EVERY > deadline:
                raise UserError(
                    f"--ray_address={address}: does not answer within --startup_timeout={startup_timeout:g} s "
                    f"({first_line(error)})"
                ) from None
        time.sleep(_LOOK_EVERY)


class Worker:
    """Answers fragments on one core."""

    def __init__(self, job: Job):
        """Loads nothing yet: an exception here would look as if the process had died."""
        os.environ["RAYON_NUM_THREADS"] = "1"  # of the tokenizer; the other cores have workers of their own
        os.environ[runtime.MOST_CORES] = "1"
        self._job = job
        self._model: Classifier | None = None

    def load(self) -> None:
        """Loads the model.

        Raises:
          UserError: It is not here, or is not the one that the job was begun with.
        """
        job = self._job
        try:
            if model_digest.of(job.model, job.engine, job.precision) != job.digest:
                raise UserError(f"--model={job.model}: differs from the model where the command was started")
            self._model = job.engine.module.load(job.model, precision=job.precision)
        except UserError as error:
            raise UserError(*(f"on {socket.gethostname()}: {problem}" for problem in error.problems)) from None

    def score(self, fragment: Fragment) -> Iterator[int | dict]:
        """Answers a fragment; see `fragment.score`."""
        try:
            yield from fragments.score(self._model, self._job, fragment)
        except UserError as error:
            raise UserError(*(f"on {socket.gethostname()}: {problem}" for problem in error.problems)) from None


_Actor: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker)


class _Call(NamedTuple):
    """What a worker is doing: loading the model, or answering a fragment."""

    worker: Any
    fragment: Fragment | None


class Pool:
    """Workers and the fragments that they are to answer."""

    def __init__(self, job: Job, todo: Iterable[Fragment], limits: Limits):
        """Starts nothing yet. Large fragments come first, so that no worker is left with one at the end."""
        self._job, self._limits = job, limits
        self._waiting = collections.deque(sorted(todo, key=lambda one: (-(one.rows or one.size), one.output)))
        self._calls: dict[ray.ObjectRef, _Call] = {}
        self._deaths = collections.Counter()

    def run(self) -> Iterator[tuple[Fragment, int | dict | None]]:
        """Answers every fragment.

        Yields:
          (fragment, rows answered since the last time); (fragment, its record) when it is done; (fragment, None) if
          its worker has died and it begins again.

        Raises:
          UserError: What a worker raised, workers that die again and again, or no progress for ``stall_timeout``.
        """
        progress_at = time.monotonic()
        with signals.deferred() as received:  # an exception in the middle of Ray's own code would come out as another
            try:
                while not received and (self._waiting or any(call.fragment for call in self._calls.values())):
                    self._hire()
                    ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=_LOOK_EVERY, fetch_local=False)
                    for reference in ready:
                        yield from self._collect(reference, self._calls.pop(reference))
                        progress_at = time.monotonic()
                    if time.monotonic() - progress_at > self._limits.stall_timeout:
                        raise UserError(self._what_it_waits_for())
            finally:
                for call in self._calls.values():
                    ray.kill(call.worker)

    def _hire(self) -> None:
        """Starts workers: up to the least at once, more while CPUs are free."""
        loading = sum(call.fragment is None for call in self._calls.values())
        free = int(ray.available_resources().get("CPU", 0)) - loading
        most = self._limits.most_workers or len(self._calls) + max(free, 0)
        wanted = max(self._limits.least_workers, min(len(self._calls) + max(free, 0), most))
        for _ in range(min(wanted - len(self._calls), len(self._waiting) - loading)):
            worker = _Actor.remote(self._job)
            self._calls[worker.load.remote()] = _Call(worker, None)

    def _collect(self, reference, call: _Call) -> Iterator[tuple[Fragment, int | dict | None]]:
        """Takes what a worker has ready, and gives it the next fragment when it has none."""
        worker, fragment = call
        try:
            item = ray.get(reference if fragment is None else next(reference))
        except StopIteration:
            self._give_next(worker)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            self._count_death(fragment, error)
            ray.kill(worker)
            if fragment:
                self._waiting.appendleft(fragment)
                yield fragment, None
        else:
            if fragment is None:
                self._give_next(worker)
            else:
                self._calls[reference] = call
                yield fragment, item

    def _give_next(self, worker) -> None:
        if not self._waiting:
            ray.kill(worker)
            return
        fragment = self._waiting.popleft()
        self._calls[worker.score.options(num_returns="streaming").remote(fragment)] = _Call(worker, fragment)

    def _count_death(self, fragment: Fragment | None, error: Exception) -> None:
        self._deaths[fragment] += 1
        if "ModuleNotFoundError" in str(error):
            reason = [line.strip() for line in str(error).splitlines() if "ModuleNotFoundError" in line][-1]
            raise UserError(f"a worker cannot start: {reason}; install sentiment_tf on every machine of the cluster")
        if self._deaths[fragment] >= MOST_DEATHS:
            at = f"at {fragment.file}" if fragment else "while loading the model"
            raise UserError(
                f"{MOST_DEATHS} workers died {at}, perhaps for lack of memory ({first_line(error)}); "
                "start the same command again with fewer workers (--most_workers)"
            )

    def _what_it_waits_for(self) -> str:
        """Describes a pool without progress."""
        busy = [call.fragment.file for call in self._calls.values() if call.fragment]
        total, free = (found.get("CPU", 0) for found in (ray.cluster_resources(), ray.available_resources()))
        waiting = f"{len(busy)} workers have not answered a row, of {', '.join(busy[:3])}"
        if not busy:
            waiting = (
                f"{len(self._calls)} workers wait for a free CPU or for the model; the cluster has {total:g} CPUs, "
                f"{free:g} of them free"
            )
        return (
            f"no progress for --stall_timeout={self._limits.stall_timeout:g} s: {waiting}; start the same command "
            "again, which goes on where it stopped"
        )
