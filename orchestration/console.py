"""Progress and results on a terminal: bars where it is one, plain lines where it is not.

Every text that is shown goes through one door, `PlainConsole.render_str`: a cell of a table, a title, a line. There
control and direction characters are spelt out, and rich's own markup is text, so that no name, path or row can
drive the terminal, whoever forgets to escape it.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from resources.progress import describe, install_sink
from resources.text import escape_lines, escape_terminal

LINE_SECONDS = 5.0
"""Least time between two plain lines about the same work."""


WIDTH = 140
"""Columns of a console that is no terminal: as wide as tables need."""


class PlainConsole(Console):
    """rich's console, to which every string is text: neither markup, nor emoji codes, nor control characters."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text as it is shown."""
        return super().render_str(escape_lines(text), **{**settings, "markup": False, "emoji": False})


def open_console(file: IO[str] | None = None) -> PlainConsole:
    """Standard output, or `file`."""
    console = PlainConsole(highlight=False, file=file)
    return console if console.is_terminal else PlainConsole(highlight=False, file=file, width=WIDTH)


class ConsoleSink:
    """Draws the progress of the stages of this process."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started: dict[str, float] = {}
        self.last_line: dict[str, float] = {}
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "ConsoleSink":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, stage: str) -> None:
        """A stage has begun."""
        self._print(f"▸ {stage}")

    def end(self, stage: str, summary: str) -> None:
        """A stage has ended."""
        self._print(f"✓ {stage}: {summary}")

    def warn(self, line: str) -> None:
        """Something that has to be looked at."""
        self._print(f"! {line}")

    def update(self, label: str, done: float, total: float | None, unit: str, finished: bool) -> None:
        """Moves the bar of `label`, or prints a line about it from time to time."""
        now = time.monotonic()
        if label not in self.started or done == 0:
            self.started[label] = self.last_line[label] = now
        detail = escape_terminal(describe(done, total, unit, now - self.started[label]))
        if self.console.is_terminal:
            if label not in self.bars:
                self.bars[label] = self.progress.add_task(escape_terminal(label), total=total, detail=detail)
            self.progress.update(self.bars[label], completed=done, total=total, detail=detail)
            if finished:
                self.progress.remove_task(self.bars.pop(label))
        elif not finished and now - self.last_line[label] >= LINE_SECONDS:
            self.last_line[label] = now
            self._print(f"    {label}: {detail}")
        if finished:
            self.started.pop(label, None)

    def _print(self, line: str) -> None:
        self.console.print(escape_terminal(line))


@contextlib.contextmanager
def drawn_progress(console: Console) -> Iterator[ConsoleSink]:
    """While this lasts, the progress of this process is drawn on the console."""
    with ConsoleSink(console) as sink:
        install_sink(sink)
        try:
            yield sink
        finally:
            install_sink(None)


def error(sentence: str) -> None:
    """One error, on standard error, as one paragraph without a traceback."""
    sys.stderr.write(f"sultana: {escape_terminal(sentence)}\n")
