"""SIGTERM and Ctrl-C: they end the program at once if nothing is lost by it, else at the next safe point."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """The process was asked to end by SIGTERM; the counterpart of KeyboardInterrupt."""


_RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def raise_when_terminated() -> None:
    """Makes SIGTERM raise `Terminated`, so that unfinished work is cleaned up as after Ctrl-C."""

    def handle(number, frame):
        raise Terminated

    signal.signal(signal.SIGTERM, handle)


def stop(number: int, message: str) -> None:
    """Raises the exception that stands for a signal, with a message for the user."""
    raise _RAISED[signal.Signals(number)](message)


@contextlib.contextmanager
def deferred(*numbers: int) -> Iterator[list[int]]:
    """Holds the first signal back until the block ends; a second one raises at once.

    Outside the main thread, where Python allows no signal handlers, nothing is held back; nor is a signal that the
    process ignores, as a shell's background jobs ignore SIGINT: it must not end the block earlier and then be lost.

    Args:
      *numbers: Signals to hold back; by default SIGINT and SIGTERM.

    Yields:
      A list that the first signal's number is appended to. A block that looks at it may end earlier, with `stop`.

    Raises:
      KeyboardInterrupt, Terminated: A signal came; raised after the block by the handler that was there before.
    """
    received: list[int] = []

    def note(number, frame):
        if received:
            stop(number, "at once, as asked twice")
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    heeded = [number for number in numbers or _RAISED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        signal.raise_signal(received[0])
