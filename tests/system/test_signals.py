"""Signals that wait for a safe point."""

import signal
import threading

import pytest

from sentiment_tf.system import signals


@pytest.fixture(autouse=True)
def terminated_is_raised():
    before = signal.getsignal(signal.SIGTERM)
    signals.raise_when_terminated()
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, signals.Terminated)]
)
def test_the_first_signal_waits_for_the_end_of_the_block(number, raised):
    done, handler = [], signal.getsignal(number)

    def work():
        with signals.deferred() as received:
            signal.raise_signal(number)
            done.append(list(received))

    with pytest.raises(raised):
        work()
    assert done == [[number]]
    assert signal.getsignal(number) is handler


def test_the_second_signal_does_not_wait():
    def work():
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second signal was held back")

    with pytest.raises(KeyboardInterrupt, match="asked twice"):
        work()


def test_a_block_may_stop_earlier_with_a_message():
    def work():
        with signals.deferred() as received:
            signal.raise_signal(signal.SIGINT)
            signals.stop(received[0], "all is saved")

    with pytest.raises(KeyboardInterrupt, match="all is saved"):
        work()


def test_signals_that_are_not_named_are_not_held_back():
    def work():
        with signals.deferred(signal.SIGINT):
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("SIGTERM was held back")

    with pytest.raises(signals.Terminated):
        work()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.deferred() as received:
            signal.raise_signal(signal.SIGINT)
        assert received == []
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_in_the_block_wins():
    def work():
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        work()


def test_outside_the_main_thread_no_handler_is_set():
    found, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        with signals.deferred() as received:
            found.append((received, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [([], handler)]
