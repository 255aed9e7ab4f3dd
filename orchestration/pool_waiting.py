"""A step that waits for its place in a pool sleeps meanwhile, and whoever started it is told.

Dagster's executors ask for the place again at once, since the pause that they compute is never above 0: the wait
takes a whole core, from the very step that is waited for where there are few.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

if TYPE_CHECKING:
    import dagster as dg

PAUSE = 0.02
"""Seconds between two looks. Between them a run also hears from its other steps; its database Dagster asks after a
second, then less and less often."""

Tell = Callable[[str], None]


@contextlib.contextmanager
def asleep_while_waiting(instance: "dg.DagsterInstance", tell: Tell | None = None) -> Iterator[None]:
    """Runs that this process carries out within the block wait asleep.

    `tell` gets a line for each pool that is waited for, once, with the runs that hold its places.
    """
    claim = InstanceConcurrencyContext.claim
    told: set[str] = set()

    def patient(
        self: InstanceConcurrencyContext, concurrency_key: str, step_key: str, step_priority: int = 0
    ) -> bool:
        if claim(self, concurrency_key, step_key, step_priority):
            return True
        if tell is not None and concurrency_key not in told:
            told.add(concurrency_key)
            holders = _held_by(instance, concurrency_key)
            tell(f"{step_key} waits for its place in the pool '{concurrency_key}'{holders}")
        time.sleep(PAUSE)
        return False

    InstanceConcurrencyContext.claim = patient  # type: ignore[method-assign]
    try:
        yield
    finally:
        InstanceConcurrencyContext.claim = claim  # type: ignore[method-assign]


def _held_by(instance: "dg.DagsterInstance", pool: str) -> str:
    info = instance.event_log_storage.get_concurrency_info(pool)
    runs = sorted({one.run_id for one in info.claimed_slots})
    return f", which the run {' and the run '.join(runs)} has" if runs else ""
