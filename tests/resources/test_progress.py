"""Progress says how much is done, how fast, and how long it will take."""

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


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def begin(self, stage: str) -> None:
        self.seen.append(("begin", stage))

    def end(self, stage: str, summary: str) -> None:
        self.seen.append(("end", stage, summary))

    def update(self, label: str, done: float, total: float | None, unit: str, finished: bool) -> None:
        self.seen.append((label, done, total, unit, finished))


def test_a_sink_sees_everything_instead() -> None:
    sink, lines = Recorder(), []
    install_sink(sink)
    try:
        stage_began("raw")
        with track("reading", 2, "rows", lines.append) as progress:
            progress.to(2)
        stage_ended("raw", "2 rows")
    finally:
        install_sink(None)
    assert lines == []
    assert sink.seen == [
        ("begin", "raw"),
        ("reading", 2, 2, "rows", False),
        ("reading", 2, 2, "rows", True),
        ("end", "raw", "2 rows"),
    ]
