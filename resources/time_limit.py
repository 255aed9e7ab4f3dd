"""A time limit on calls into a storage library, which can hang for ever on a failing disk."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from resources.errors import SultanaError

STORAGE_SECONDS = 600.0
"""Longest that one call may take; the slowest seen, an upsert into a million rows, took half a second."""

_LAST_SECONDS = 5.0
_PANIC = "PanicException"

P = ParamSpec("P")
T = TypeVar("T")


class Feed(Generic[T]):
    """What a storage library takes from us while it works; the time that we take to make it does not count."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._stopped = False
        self.since: float | None = time.monotonic()
        """When the library was last given something to do; None while it waits for us."""

    def __iter__(self) -> Iterator[T]:
        while not self._stopped:
            self.since = None
            try:
                item = next(self._items)
            except StopIteration:
                return
            finally:
                self.since = time.monotonic()
            yield item
        raise InterruptedError("nobody waits for this any more")

    def stop(self) -> None:
        """Let the library have an error in place of the next item."""
        self._stopped = True


def within_time(what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns or raises; SultanaError about `what` where it takes longer than STORAGE_SECONDS.

    The call runs in a thread of its own, which cannot be stopped: after the error it may still end. A
    write that ends so late is not acknowledged, and the next write adopts it or passes over it.
    """
    started = time.monotonic()
    return _waited(what, STORAGE_SECONDS, lambda: started, lambda: call(*args, **kwargs))


def within_seconds(seconds: float, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same with a limit of one's own, for what takes longer the more there is."""
    started = time.monotonic()
    return _waited(what, seconds, lambda: started, lambda: call(*args, **kwargs))


def within_time_fed(what: str, feed: Feed[Any], call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a call that consumes `feed`: STORAGE_SECONDS from one item that it was given to the next."""
    try:
        return _waited(what, STORAGE_SECONDS, lambda: feed.since, lambda: call(*args, **kwargs), feed.stop)
    finally:
        feed.stop()


def _waited(
    what: str,
    seconds: float,
    since: Callable[[], float | None],
    call: Callable[[], T],
    interrupted: Callable[[], None] = lambda: None,
) -> T:
    outcome: dict[str, Any] = {}
    ended = threading.Event()

    def run() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            # What native code calls a panic is an error like others to whoever reads a damaged file.
            outcome["error"] = OSError(str(error)) if type(error).__name__ == _PANIC else error
        finally:
            ended.set()

    threading.Thread(target=run, name=f"storage: {what}", daemon=True).start()
    while not ended.is_set():
        began = since()
        left = seconds if began is None else began + seconds - time.monotonic()
        if left <= 0:
            raise SultanaError(
                f"The storage did not answer within {seconds:,.0f} s ({what})",
                "Check the disk or the object store, then run the same command again; nothing was acknowledged",
                code="storage-timeout",
            )
        try:
            ended.wait(left)
        except BaseException:  # the keyboard, or a request to end: what is under way may come to its end
            interrupted()
            ended.wait(_LAST_SECONDS)
            raise
    if "error" in outcome:
        raise outcome["error"]
    value: T = outcome["value"]
    return value
