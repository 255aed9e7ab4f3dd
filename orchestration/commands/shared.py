"""What the commands share: options, how they end, and how they answer people and programs.

A command ends with 0 where all is well, 1 where something is wrong (one sentence on standard error says what, and
the remedy; of a defect of Sultana, where its report lies), 2 where it was called wrongly, and 130 where it was stopped.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from orchestration.console import error as print_error
from orchestration.console import open_console
from resources.errors import SultanaError
from resources.text import escape_json

PROBLEM, STOPPED = 1, 130
AGAIN = "Run the same command again"
EXIT_STATUS = (
    "Exit status: 0 all is well; 1 something is wrong, and a sentence on standard error says what and the remedy; "
    "2 wrong usage; 130 stopped by the keyboard."
)

Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@ALIAS|/VERSION]",
        help="A registered model. Without alias or version: champion, else candidate, else the newest.",
    ),
]
TrackingUri = Annotated[
    str, typer.Option(help="MLflow store to read. [default: that of the data folder]", show_default=False)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="For programs: one JSON document on standard output, and nothing else.")
]


def examples(*lines: str) -> str:
    """The end of a command's help: command lines to copy."""
    return "Examples:\n" + "\n".join(f"  {line}" for line in lines)


def refuse(error: Exception, status: int = PROBLEM) -> typer.Exit:
    """Says what is wrong; the exit to raise."""
    print_error(str(error))
    return typer.Exit(status)


@contextlib.contextmanager
def explained(
    stopped: str = "Stopped by the keyboard", remedy: str = AGAIN, *, as_json: bool = False
) -> Iterator[Console]:
    """A console for what is shown; any failure of the block as one sentence and an exit status.

    With `as_json` everything that is shown meanwhile goes to standard error, so that standard output is left
    to `answer`. Defects are left to `orchestration.cli.main`.
    """
    from assets.failures import INTERRUPTED, explain
    from resources.definitions import data_folder

    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), _told_once():
        try:
            yield open_console()
        except typer.Exit:
            raise
        except INTERRUPTED:
            raise refuse(SultanaError(stopped, remedy, code="interrupted"), STOPPED) from None
        except Exception as error:
            found = explain(error, data_folder())
            if found is None:
                raise
            raise refuse(found) from None


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Leaves an interrupt to whoever ends the command.

    A library that it meets in the middle of a task may log it, with its traceback, before it passes it on:
    SQLAlchemy does where a connection was about to be closed.
    """
    from assets.failures import INTERRUPTED

    def is_another(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], INTERRUPTED))

    terminal = logging.lastResort  # what writes for those who have set up no logging, as no command has
    if terminal is None:
        yield
        return
    terminal.addFilter(is_another)
    try:
        yield
    finally:
        terminal.removeFilter(is_another)


def answer(document: Any, as_json: bool) -> None:
    """Writes the document for programs, where one was asked for. Numbers that are not finite become null.

    It may be read on a terminal too, so what could drive one stands as an escape of JSON, which means the same.
    """
    if as_json:
        sys.stdout.write(escape_json(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()) + "\n")
