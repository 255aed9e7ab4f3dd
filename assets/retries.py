"""Which failures a step is tried again after, and how long it waits before.

Only what may be gone at the next try: the network, a server or database that is busy. Every step may be run
again, since what it commits carries an idempotency key and training goes on from its last state; but a wrong
setting, a defect or a lack of memory is the same at the second try, and is shown at once.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import dagster as dg

from assets.failures import explained_step
from resources.errors import SultanaError, TransientError

MAXIMUM_RETRIES = 3
FIRST_WAIT_SECONDS = 5.0
GROWTH = 4
"""Waits of 5, 20 and 80 seconds."""

F = TypeVar("F", bound=Callable[..., Any])


def is_transient(error: BaseException) -> bool:
    """Whether a failure may be gone at the next try."""
    if isinstance(error, TransientError | ConnectionError | TimeoutError):
        return True
    if "database is locked" in str(error):
        return True
    if isinstance(error, SultanaError):
        return False
    return error.__cause__ is not None and is_transient(error.__cause__)


def tried_again(function: F) -> F:
    """The function of an asset, tried again with growing waits after failures that may pass; others are sentences."""

    @contextlib.contextmanager
    def handled(context: dg.AssetExecutionContext) -> Iterator[None]:
        with explained_step(context.op.name):
            try:
                yield
            except Exception as error:
                if not is_transient(error):
                    raise
                wait = FIRST_WAIT_SECONDS * GROWTH**context.retry_number
                context.log.warning(f"{error} (tried again in {wait:g} s, at most {MAXIMUM_RETRIES} times)")
                raise dg.RetryRequested(max_retries=MAXIMUM_RETRIES, seconds_to_wait=wait) from error

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def attempt_all(context: dg.AssetExecutionContext, *arguments: Any, **named: Any) -> Iterator[Any]:
            with handled(context):
                yield from function(context, *arguments, **named)

        return attempt_all  # type: ignore[return-value]

    @functools.wraps(function)
    def attempt(context: dg.AssetExecutionContext, *arguments: Any, **named: Any) -> Any:
        with handled(context):
            return function(context, *arguments, **named)

    return attempt  # type: ignore[return-value]
