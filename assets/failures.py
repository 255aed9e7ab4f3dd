"""Any failure as one sentence of what, where and the remedy; of a defect, where its report lies."""

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dagster import (
    DagsterError,
    DagsterExecutionInterruptedError,
    DagsterInvalidConfigError,
    Failure,
    OpExecutionContext,
    RetryRequested,
)
from pydantic import ValidationError

from resources.crash_report import causes, report, where, write_report
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.files import DISK_REMEDY, disk_full, is_disk_full
from resources.text import escape_terminal

_MOST_REASONS = 5
INTERRUPTED = (KeyboardInterrupt, DagsterExecutionInterruptedError)
"""What Ctrl-C, and a request to end, arrive as: outside a step of Dagster and inside one."""

UNREACHABLE = re.compile(r"(connection to server .*)", re.IGNORECASE)
MACHINE = {
    errno.EIO,
    errno.EROFS,
    errno.ENXIO,
    errno.ENODEV,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
TRACEBACK = "SULTANA_TRACEBACK"
"""Set in the environment, a crash is shown whole; its messages may hold rows."""

F = TypeVar("F", bound=Callable[..., Any])


def explain(error: BaseException, folder: Path) -> SultanaError | None:
    """The sentence for users, or None where the failure is a defect whose traceback is wanted."""
    chain = list(causes(error))
    for one in chain:
        if isinstance(one, SultanaError):
            return one
    for one in chain:
        if is_disk_full(one):
            return disk_full(folder)
        if "disk I/O error" in str(one):
            # SQLite says so, too, where a full disk leaves no room for its shared memory.
            return SultanaError(
                f"A database in {folder} could not be written: the disk that holds it is full, or failing; "
                "nothing that was stored before is lost",
                DISK_REMEDY,
                code="disk-full",
            )
        if found := UNREACHABLE.search(str(one)):
            return SultanaError(
                f"The PostgreSQL database cannot be used: {found[1]}",
                "Start it, and check SULTANA_DAGSTER_POSTGRES, SULTANA_TRACKING_URI and PGPASSWORD",
                code="postgres-unreachable",
            )
        if isinstance(one, ValidationError):
            return wrong_settings(one, one.title)
        if isinstance(one, DagsterInvalidConfigError):
            reasons = "; ".join(" ".join(each.message.split()) for each in one.errors) or str(one)
            return SultanaError(
                f"The configuration is wrong: {reasons}",
                "Correct it; nothing was started",
                code="configuration-invalid",
            )
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return SultanaError(
                "There was not enough memory",
                "Lower the sizes of batches and the longest input, or use a larger machine; "
                "the same command goes on where it stopped",
                code="memory-exhausted",
            )
        if isinstance(one, OSError) and one.errno in MACHINE:
            return SultanaError(
                f"{one.filename or folder} cannot be used: {one.strerror}",
                "Check the disk and the limits of this machine, then run the same command again",
                code="machine-fault",
            )
        if isinstance(one, PermissionError):
            return SultanaError(
                f"{one.filename or folder} cannot be opened: permission denied",
                "Give this user read and write access to it, or set SULTANA_DATA to another folder",
                code="permission-denied",
            )
    return None


def wrong_settings(error: ValidationError, where: str) -> SultanaError:
    """What is said about settings that are out of bounds or of the wrong type."""
    found = error.errors()
    reasons = [
        f"{escape_terminal('.'.join(str(part) for part in one['loc']), 100) or 'settings'} = "
        f"{escape_terminal(repr(one.get('input')), 100)}: {escape_terminal(one['msg'], 200)}"
        for one in found[:_MOST_REASONS]
    ]
    if len(found) > _MOST_REASONS:
        reasons.append(f"and {len(found) - _MOST_REASONS} more")
    return SultanaError(
        f"Wrong setting of {where}: {'; '.join(reasons)}",
        "Correct it; nothing was started",
        code="configuration-invalid",
    )


def crashed(error: BaseException, folder: Path, doing: str, options: Sequence[str] = ()) -> SultanaError:
    """What is said of a defect, whose report is written to the data folder; see `resources.crash_report`."""
    problem = f"{doing} met a defect of Sultana: {where(error)}"
    see = f"set {TRACEBACK}=1 to see the whole error, which may show rows"
    try:
        file = write_report(folder, report(error, doing, options))
    except OSError as failed:
        return SultanaError(
            f"{problem}; its report could not be written to {folder} ({failed.strerror})",
            f"Run it again, and {see}",
            code="defect",
        )
    return SultanaError(
        problem,
        f"Send the report {file}, which holds no rows, values or messages, with an account of what you did; {see}",
        code="defect",
    )


def explained_failure(error: Exception, doing: str) -> Exception:
    """The error that a step is to end with: a sentence instead of what only a developer can read.

    What Dagster itself raises, and asks for, stays as it is.
    """
    if isinstance(error, SultanaError | DagsterError | Failure | RetryRequested) or os.environ.get(TRACEBACK):
        return error
    return explain(error, data_folder()) or crashed(error, data_folder(), doing)


@contextlib.contextmanager
def explained_step(name: str) -> Iterator[None]:
    """While this lasts, what fails ends a step of that name with a sentence."""
    try:
        yield
    except Exception as error:
        told = explained_failure(error, f"The step {name}")
        if told is error:
            raise
        # Not chained: Dagster stores the texts of causes, which may hold rows.
        raise told from None


def explained_op(function: F) -> F:
    """The function of an op, whose failures end as sentences in the run's log."""

    @functools.wraps(function)
    def attempt(context: OpExecutionContext, *arguments: Any, **named: Any) -> Any:
        with explained_step(context.op.name):
            return function(context, *arguments, **named)

    return attempt  # type: ignore[return-value]
