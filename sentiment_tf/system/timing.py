"""The time of each step of a run."""

import contextlib
import logging
import time
from collections.abc import Iterator

log = logging.getLogger("sentiment_tf")


class Clock:
    """Times the steps of a run and says each in one log line."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Times what happens inside; strings appended to the yielded list are said beside the time."""
        began, said = time.perf_counter(), []
        yield said
        self.seconds[name] = time.perf_counter() - began
        log.info("%-16s %6.1f s  %s", name.replace("_", " "), self.seconds[name], "; ".join(said))
