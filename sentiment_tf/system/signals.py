"""SIGTERM and Ctrl-C: obeyed at once where nothing would be lost, at the next safe place where something would."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM asked the process to end; the counterpart of KeyboardInterrupt."""


_RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def raise_when_terminated() -> None:
    """Lets SIGTERM raise `Terminated`, so that what is half-done is tidied up as after Ctrl-C."""

    def obey(number, frame):
        raise Terminated

    signal.signal(signal.SIGTERM, obey)


def stop(number: int, message: str) -> None:
    """Raises what a signal raises where it is obeyed at once; ``message`` is for the user."""
    raise _RAISED[signal.Signals(number)](message)


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Yields a list that the first SIGTERM or SIGINT is appended to; a second one raises at once.

    Whoever asks for it must look at the list and call `stop`. Outside the main thread, where Python sets no
    handlers, the list stays empty.
    """
    asked: list[int] = []

    def note(number, frame):
        if asked:
            stop(number, "at once, as asked twice")
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, note) for number in _RAISED}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
