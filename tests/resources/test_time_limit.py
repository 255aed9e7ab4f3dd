"""A storage call that hangs ends in a sentence; anything else passes through unchanged."""

import threading
import time

import pytest

from resources import time_limit
from resources.errors import SultanaError
from resources.time_limit import within_time


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
