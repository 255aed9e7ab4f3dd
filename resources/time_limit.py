"""A time limit on calls into a storage library, which can hang for ever on a failing disk."""

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from resources.errors import SultanaError

STORAGE_SECONDS = 600.0
"""Longest that one call may take; the slowest seen, an upsert into a million rows, took half a second."""

_PANIC = "PanicException"

P = ParamSpec("P")
T = TypeVar("T")


def within_time(what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns or raises; SultanaError about `what` where it takes longer than STORAGE_SECONDS.

    The call runs in a thread of its own, which cannot be stopped: after the error it may still end. A
    write that ends so late is not acknowledged, and the next write adopts it or passes over it.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            # What native code calls a panic is an error like others to whoever reads a damaged file.
            outcome["error"] = OSError(str(error)) if type(error).__name__ == _PANIC else error

    thread = threading.Thread(target=run, name=f"storage: {what}", daemon=True)
    thread.start()
    thread.join(STORAGE_SECONDS)
    if thread.is_alive():
        raise SultanaError(
            f"The storage did not answer within {STORAGE_SECONDS:,.0f} s ({what})",
            "Check the disk or the object store, then run the same command again; nothing was acknowledged",
            code="storage-timeout",
        )
    if "error" in outcome:
        raise outcome["error"]
    value: T = outcome["value"]
    return value
