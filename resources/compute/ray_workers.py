"""A pool of Ray actors: parts out, results in the order of the parts, dead workers replaced.

A part is done by whichever worker has room. Where its worker, or the node under it, dies, another does it:
nothing is lost, and since a part has no effect but its result, and each result is handed on once, nothing is
doubled. Parts that are on their way, and results that wait for an earlier one, are at most
`WINDOW_OF_A_WORKER` for each worker.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

from resources.compute.alike import check_alike, code_facts
from resources.compute.boundary import Factory, Result, Work
from resources.errors import SultanaError

_LOG = logging.getLogger(__name__)

AT_ONCE = 2
"""Parts given to a worker at once: it works on one while the next travels."""

WINDOW_OF_A_WORKER = 4
TRIES = 4
"""Workers that one part may end before it is given up."""

POLL_SECONDS = 5.0


class Worker(Generic[Result]):
    """What runs in an actor: the function of a part, built at its first part."""

    def __init__(self, facts: dict[str, str]) -> None:
        from resources.environment import apply_safe_defaults

        apply_safe_defaults()
        self._facts = facts
        self._work: Work[Result] | None = None

    def started(self) -> tuple[str, int]:
        """The machine and the process that this is."""
        return socket.gethostname(), os.getpid()

    def run(self, factory: Factory[Result], part: Any, *shared: Any) -> Result:
        """The result of a part. What is wrong with the worker is raised here, where the pool sees it."""
        if self._work is None:
            check_alike(self._facts, socket.gethostname())
            self._work = factory()
        return self._work(part, *shared)


@dataclass(eq=False)
class _Hand:
    """An actor, and the numbers of the parts that it has, in the order in which it does them."""

    actor: Any
    parts: deque[int] = field(default_factory=deque)
    machine: str = ""
    process: int = 0
    lost: bool = False


@dataclass(frozen=True)
class _Given:
    hand: _Hand
    number: int
    part: Any


class RayWorkers(Generic[Result]):
    """See `boundary.Workers`; `close` ends the actors.

    `workers_lost` and `parts_done_again` count what has happened so far.
    """

    def __init__(
        self,
        ray: Any,
        factory: Factory[Result],
        *,
        count: int,
        cpus: float,
        gpus: float,
        wait_seconds: float,
    ) -> None:
        self._ray = ray
        self._wait_seconds = wait_seconds
        self._count = count
        self._needs = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        # Restarts are this pool's own: Ray would try a part that ends its worker for ever.
        self._class = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(Worker)
        self._factory = ray.put(factory)
        self._starting: dict[Any, _Hand] = {}
        self._ready: list[_Hand] = []
        self._alone_since = time.monotonic()
        self._failed_starts = 0
        self.workers_lost = 0
        self.parts_done_again = 0
        for _ in range(count):
            self._start()

    def close(self) -> None:
        """Ends every worker."""
        for hand in [*self._starting.values(), *self._ready]:
            self._ray.kill(hand.actor, no_restart=True)
        self._starting, self._ready = {}, []

    def busy(self) -> list[tuple[str, int]]:
        """Machine and process of each worker that has a part, the one with most parts first."""
        hands = sorted((one for one in self._ready if one.parts), key=lambda one: -len(one.parts))
        return [(one.machine, one.process) for one in hands]

    def map(self, parts: Iterable[Any], *shared: Any) -> Iterator[Result]:
        """See `boundary.Workers`."""
        common = [self._ray.put(one) for one in shared]
        source = enumerate(parts)
        again: deque[tuple[int, Any]] = deque()
        given: dict[Any, _Given] = {}
        done: dict[int, Result] = {}
        tries: dict[int, int] = {}
        taken = handed_on = 0
        exhausted = False
        try:
            while True:
                while handed_on in done:
                    yield done.pop(handed_on)
                    handed_on += 1
                while (hand := self._free()) is not None:
                    if again:
                        number, part = again.popleft()
                    elif exhausted or taken - handed_on >= WINDOW_OF_A_WORKER * self._count:
                        break
                    else:
                        following = next(source, None)
                        if following is None:
                            exhausted = True
                            break
                        number, part = following
                        taken = number + 1
                    given[hand.actor.run.remote(self._factory, part, *common)] = _Given(hand, number, part)
                    hand.parts.append(number)
                if exhausted and not given and not again and not done:
                    return
                for ref in self._wait(given):
                    one = given.pop(ref)
                    result, came = self._result(ref, one, tries)
                    one.hand.parts.remove(one.number)
                    if came:
                        done[one.number] = result
                    else:
                        again.append((one.number, one.part))
                        self.parts_done_again += 1
        finally:
            for one in given.values():  # of a pass that was broken off: what they give is not waited for
                one.hand.parts.clear()

    def _result(self, ref: Any, one: _Given, tries: dict[int, int]) -> tuple[Any, bool]:
        """What a part gave, and whether it did: it gave nothing where its worker is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref), True
        except errors.RayTaskError as error:
            raise (error.cause or error) from None
        except errors.RayError as error:
            if not one.hand.lost and one.hand.parts[0] == one.number:
                # The part that was being worked on, and may be why.
                tries[one.number] = tries.get(one.number, 0) + 1
                if tries[one.number] >= TRIES:
                    raise SultanaError(
                        f"Part {one.number} ended the worker that did it {TRIES} times "
                        f"({' '.join(str(error).split())[:300]})",
                        "Give each worker more memory (cpus_per_worker), and look at Ray's logs of that worker",
                        code="worker-lost",
                    ) from error
            self._lose(one.hand)
            return None, False

    def _free(self) -> _Hand | None:
        """A worker with room for a part, one with nothing to do first."""
        hands = [hand for hand in self._ready if len(hand.parts) < AT_ONCE]
        return min(hands, key=lambda hand: len(hand.parts), default=None)

    def _wait(self, given: dict[Any, _Given]) -> list[Any]:
        """Parts that are done or lost; workers that have started meanwhile are ready."""
        refs = [*given, *self._starting]
        found, _ = self._ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        # What else is there already, without waiting for it.
        found, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0) if found else (found, None)
        for ref in [one for one in found if one in self._starting]:
            self._settle(ref)
        if self._ready:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > self._wait_seconds:
            raise SultanaError(
                f"No worker has started for {self._wait_seconds:,.0f} s: the cluster has no node with "
                f"{self._needs} free",
                "Free the cluster or add nodes, or lower cpus_per_worker and gpus_per_worker",
                code="ray-no-room",
            )
        return [one for one in found if one in given]

    def _start(self) -> None:
        hand = _Hand(self._class.remote(code_facts()))
        self._starting[hand.actor.started.remote()] = hand

    def _settle(self, ref: Any) -> None:
        """A worker has started, or could not."""
        hand = self._starting.pop(ref)
        try:
            hand.machine, hand.process = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= TRIES * self._count:
                raise SultanaError(
                    f"Workers do not start ({' '.join(str(error).split())[:300]})",
                    "Install the same version of Sultana and of its packages on every node",
                    code="worker-not-started",
                ) from error
            self._lose(hand)
        else:
            self._failed_starts = 0
            self._ready.append(hand)

    def _lose(self, hand: _Hand) -> None:
        """Replaces a worker that is gone, or that does not answer."""
        if hand.lost:
            return
        hand.lost = True
        self.workers_lost += 1
        if hand.machine:
            _LOG.warning(
                "The worker of process %d on %s is gone; parts of it that are done again: %d",
                hand.process,
                hand.machine,
                len(hand.parts),
            )
        self._ready = [one for one in self._ready if one is not hand]
        self._ray.kill(hand.actor, no_restart=True)
        self._start()
