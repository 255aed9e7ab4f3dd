"""A storage call that hangs ends in a sentence; anything else passes through unchanged."""

import itertools
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from resources import time_limit
from resources.errors import SultanaError
from resources.time_limit import Feed, within_time, within_time_fed


def test_values_and_errors_pass() -> None:
    assert within_time("adding", lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(KeyError, match="x"):
        within_time("failing", {}.__getitem__, "x")


def test_a_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "STORAGE_SECONDS", 0.1)
    forever = threading.Event()
    started = time.monotonic()
    with pytest.raises(SultanaError, match="did not answer within .*opening t"):
        within_time("opening t", forever.wait)
    assert time.monotonic() - started < 5
    forever.set()


def test_the_time_that_the_rows_take_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "STORAGE_SECONDS", 0.2)

    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.3)
            yield number

    feed = Feed(slow())
    assert within_time_fed("writing t", feed, lambda: list(feed)) == [0, 1, 2]
    stuck, forever = Feed(iter([1])), threading.Event()
    with pytest.raises(SultanaError, match="did not answer within .*writing t"):
        within_time_fed("writing t", stuck, lambda: [forever.wait() for _ in stuck])
    forever.set()


def test_what_was_interrupted_is_fed_no_more() -> None:
    # Processes that run tests side by side are deaf to the keyboard.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupted_while_fed()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted_while_fed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            if number == 3:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.01)
            yield number

    feed = Feed(endless())
    with pytest.raises(KeyboardInterrupt):
        within_time_fed("writing t", feed, lambda: taken.extend(feed))
    fed = len(taken)
    time.sleep(0.1)
    assert len(taken) == fed < 100
