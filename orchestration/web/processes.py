"""The processes behind `sultana ui`: started, started again when one dies, and stopped together."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from resources.errors import SultanaError

_DEATHS = 5
_WITHIN_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 45.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """A process that shall be there for as long as the UI is."""

    name: str
    command: list[str]
    after: Path | None = None
    """A file that has to be there before it is started."""
    has_runs: bool = False
    """Whether runs are below it, which end by a signal to the keyboard's whole group."""
    process: subprocess.Popen[bytes] | None = None
    starts_at: float = 0.0
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=_DEATHS))

    def start(self) -> None:
        """Starts it in a process group of its own, so that Ctrl-C reaches it through this process alone."""
        self.process = subprocess.Popen(self.command, process_group=0, preexec_fn=_end_with_parent())

    def look(self, warn: Callable[[str], None]) -> None:
        """Starts it again where it has died. Raises SultanaError where that was five times within five minutes."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.starts_at and (self.after is None or self.after.exists()):
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        self.process = None
        self.deaths.append(now)
        if len(self.deaths) == _DEATHS and now - self.deaths[0] < _WITHIN_SECONDS:
            raise SultanaError(
                f"The {self.name} ended {_DEATHS} times within {_WITHIN_SECONDS / 60:.0f} minutes, the last time with "
                f"status {status}",
                "What it said stands above; `sultana doctor` examines the machine and the data folder",
                code="ui-process-died",
            )
        pause = _PAUSE_SECONDS * 2 ** (len(self.deaths) - 1)
        self.starts_at = now + pause
        warn(f"The {self.name} ended with status {status}; it is started again in {pause:.0f} s")

    def ask_to_stop(self) -> None:
        """Asks it to end, and with it the runs below it, as Ctrl-C on a terminal does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                if self.has_runs:
                    os.killpg(self.process.pid, signal.SIGINT)
                else:
                    self.process.terminate()

    def wait(self, end: float) -> None:
        """Waits until it has ended; ends it and what is below it at the time `end`."""
        if self.process is None:
            return
        try:
            self.process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _end_with_parent() -> Callable[[], None] | None:
    """For the child, before it becomes the service: be told to end when this process dies, however it dies."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    told = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    # Also where a shell without job control started this deaf to SIGINT.
    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def keep_running(services: list[Service], warn: Callable[[str], None]) -> None:
    """Runs the services until this process is told to stop; then stops them, those with runs below them last.

    Raises SultanaError where one cannot be kept alive; the others are stopped first.
    """
    with _told_to_stop() as told:
        try:
            while not told.is_set():
                for service in services:
                    service.look(warn)
                told.wait(_LOOK_SECONDS)
        finally:
            _stop([one for one in services if not one.has_runs])
            _stop([one for one in services if one.has_runs])


def _stop(services: list[Service]) -> None:
    end = time.monotonic() + _STOP_SECONDS
    for service in services:
        service.ask_to_stop()
    for service in services:
        service.wait(end)
