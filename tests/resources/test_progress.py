"""Progress says how much is done, how fast, and how long it will take."""

import time

import pytest

from resources import progress as progress_module
from resources.progress import describe, install_sink, stage_began, stage_ended, track


def test_a_line_says_done_rate_and_time_left() -> None:
    assert describe(50, 200, "rows", 10.0) == "50/200 rows, 5.0 rows/s, 30 s left"
    assert describe(200, 200, "rows", 10.0) == "200/200 rows, 20.0 rows/s"
    assert describe(7, None, "files", 0.0) == "7 files"


def test_the_end_is_always_logged() -> None:
    lines: list[str] = []
    with track("reading", 3, "rows", lines.append) as progress:
        for _ in range(3):
            progress.advance()
    assert len(lines) == 1 and lines[0].startswith("reading: 3/3 rows")


def test_long_work_is_logged_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LOG_SECONDS", 0.05)
    lines: list[str] = []
    with track("reading", 4, "rows", lines.append) as progress:
        for _ in range(4):
            time.sleep(0.03)
            progress.advance()
    # After 0.06 and 0.12 seconds, and at the end: not after each row.
    assert 2 <= len(lines) < 5 and lines[0].endswith("s left")


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def begin(self, stage: str) -> None:
        self.seen.append(("begin", stage))

    def end(self, stage: str, summary: str) -> None:
        self.seen.append(("end", stage, summary))

    def update(self, label: str, done: float, total: float | None, unit: str, finished: bool) -> None:
        self.seen.append((label, done, total, unit, finished))


def test_a_sink_sees_everything_and_the_log_still_has_the_end() -> None:
    sink, lines = Recorder(), []
    install_sink(sink)
    try:
        stage_began("raw")
        with track("reading", 2, "rows", lines.append) as progress:
            progress.to(2)
        stage_ended("raw", "2 rows")
    finally:
        install_sink(None)
    assert len(lines) == 1 and lines[0].startswith("reading: 2/2 rows")
    assert sink.seen == [
        ("begin", "raw"),
        ("reading", 2, 2, "rows", False),
        ("reading", 2, 2, "rows", True),
        ("end", "raw", "2 rows"),
    ]
