"""Any failure of a run as one sentence of what, where and the remedy."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

from dagster import DagsterExecutionInterruptedError, DagsterInvalidConfigError
from pydantic import ValidationError

from resources.errors import SultanaError

INTERRUPTED = (KeyboardInterrupt, DagsterExecutionInterruptedError)
"""What Ctrl-C, and a request to end, arrive as: outside a step of Dagster and inside one."""

UNREACHABLE = re.compile(r"(connection to server .*)", re.IGNORECASE)
FULL = re.compile(r"No space left on device|database or disk is full|os error 28", re.IGNORECASE)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        user_exception = getattr(current, "user_exception", None)
        current = user_exception or current.__cause__ or current.__context__


def disk_is_full(folder: Path) -> SultanaError:
    """What is said when a folder's disk is full."""
    return SultanaError(
        f"The disk that holds {folder} is full; what was committed before is intact",
        "Free some space, or set SULTANA_DATA to a folder on another disk, and run the same command again",
        code="disk-full",
    )


def explain(error: BaseException, folder: Path) -> SultanaError | None:
    """The sentence for users, or None where the failure is a defect whose traceback is wanted."""
    chain = list(causes(error))
    for one in chain:
        if isinstance(one, SultanaError):
            return one
    for one in chain:
        if (isinstance(one, OSError) and one.errno == errno.ENOSPC) or FULL.search(str(one)):
            return disk_is_full(folder)
        if "disk I/O error" in str(one):
            # SQLite says so, too, where a full disk leaves no room for its shared memory.
            return SultanaError(
                f"A database in {folder} could not be written: the disk that holds it is full, or failing; "
                "what was committed before is intact",
                "Free some space, or set SULTANA_DATA to a folder on another disk, and run the same command again",
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
        if isinstance(one, PermissionError):
            return SultanaError(
                f"{one.filename or folder} cannot be opened: permission denied",
                "Give this user read and write access to it, or set SULTANA_DATA to another folder",
                code="permission-denied",
            )
    return None


def wrong_settings(error: ValidationError, where: str) -> SultanaError:
    """What is said about settings that are out of bounds or of the wrong type."""
    reasons = "; ".join(
        f"{'.'.join(str(part) for part in one['loc']) or 'settings'} = {one.get('input')!r}: {one['msg']}"
        for one in error.errors()
    )
    return SultanaError(
        f"Wrong setting of {where}: {reasons}",
        "Correct it; nothing was started",
        code="configuration-invalid",
    )
