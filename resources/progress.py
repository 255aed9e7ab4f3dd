"""Progress of long work: rows done, rate and time left, for a run's log and for the terminal.

Lines go to the log function that the stage gives (Dagster's event log), at most one every `LOG_SECONDS`. The
command line installs a sink that draws as well.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

LOG_SECONDS = 10.0


class Sink(Protocol):
    """What draws progress on a terminal."""

    def begin(self, stage: str) -> None:
        """A stage has begun."""

    def end(self, stage: str, summary: str) -> None:
        """A stage has ended; `summary` says with what."""

    def update(self, label: str, done: float, total: float | None, unit: str, finished: bool) -> None:
        """Shows that `done` of `total` units of the work called `label` are done."""


_sink: Sink | None = None


def install_sink(sink: Sink | None) -> None:
    """Shows the progress of every stage in this process on `sink` as well; None undoes it."""
    global _sink
    _sink = sink


def stage_began(stage: str) -> None:
    """Tells the sink, where there is one, that a stage has begun."""
    if _sink is not None:
        _sink.begin(stage)


def stage_ended(stage: str, summary: str) -> None:
    """Tells the sink, where there is one, that a stage has ended."""
    if _sink is not None:
        _sink.end(stage, summary)


def describe(done: float, total: float | None, unit: str, seconds: float) -> str:
    """One line: done, total, rate and time left."""
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{done:,.0f}" + (f"/{total:,.0f}" if total else "") + f" {unit}"
    if rate > 0:
        text += f", {rate:,.1f} {unit}/s"
    if total and rate > 0 and done < total:
        text += f", {(total - done) / rate:,.0f} s left"
    return text


@dataclass
class Progress:
    """A running count; `advance` it as work gets done."""

    label: str
    total: float | None
    unit: str
    log: Callable[[str], object]
    done: float = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

    def advance(self, count: float = 1) -> None:
        """`count` more units are done."""
        self.to(self.done + count)

    def to(self, done: float) -> None:
        """`done` units are done in all."""
        self.done = done
        if _sink is not None:
            _sink.update(self.label, self.done, self.total, self.unit, finished=False)
        if time.monotonic() - self.logged > LOG_SECONDS:
            self.logged = time.monotonic()
            self.log(
                f"{self.label}: {describe(self.done, self.total, self.unit, self.logged - self.started)}"
            )


@contextmanager
def track(label: str, total: float | None, unit: str, log: Callable[[str], object]) -> Iterator[Progress]:
    """Progress over a block of work; its end is always shown."""
    progress = Progress(label, total, unit, log)
    yield progress
    seconds = time.monotonic() - progress.started
    if _sink is not None:
        _sink.update(label, progress.done, progress.total, unit, finished=True)
    log(f"{label}: {describe(progress.done, progress.total, unit, seconds)}, {seconds:,.1f} s")
