"""The duration of each step of a run."""

import contextlib
import logging
import time
from collections.abc import Iterator

log = logging.getLogger("sentiment_tf")


class Clock:
    """Times the steps of a run and logs each in one line.

    Attributes:
      seconds: Duration by the step's name.
    """

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Times the block; strings that it appends to the yielded list are logged beside the time."""
        began, details = time.perf_counter(), []
        yield details
        self.seconds[name] = time.perf_counter() - began
        log.info("%-16s %6.1f s  %s", name.replace("_", " "), self.seconds[name], "; ".join(details))
