"""The boundary between what a stage does to its rows and the engine that runs it.

A stage cuts its rows into parts and says what is done to one: a `Factory`, which an engine calls once in
each process that works, gives the function that is then called for each part. Results come in the order of
the parts, whatever number of workers there is. A part may be done more than once, where a worker died over
it, so a function of a part must have no effect but its result, or files that nobody knows of unless they are part of
its result (`resources.table_fragments`): stages commit, workers do not.

Factories, parts and results are pickled where the engine has other processes. A factory holds what is
large and the same for all parts (a model by its settings, the rows that parts are places in); `shared` holds
what changes from one pass over the parts to the next.

What cannot be cut into parts, a training whose processes wait for one another at every step, is done by a
process group: `Compute.process_group`.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Work = Callable[..., Result]
"""Called with a part and with what is shared by all parts of a pass."""

Factory = Callable[[], Work[Result]]
"""Builds the function of a part, once in each process that works."""

Message = dict[str, Any]
"""What a process of a group tells: JSON values by their kind, and under `done` how far the work is."""


class Tell(Protocol):
    """Hands a message to whoever waits for the group."""

    def __call__(self, kind: str, value: Any, done: int = 0) -> None:
        """`done` counts what is behind the work: a group that is lost again and again gets no further."""


class Workers(Protocol[Result_co]):
    """Workers that have built what they need, or build it at their first part."""

    def map(self, parts: Iterable[Any], *shared: Any) -> Iterator[Result_co]:
        """The result of each part, in the order of the parts.

        `parts` are taken as workers get free, and only so many results wait to be taken that memory is
        bounded. Raises what the work raises, and SultanaError where a part cannot be done for another
        reason. One pass at a time.
        """


class Compute(Protocol):
    """An engine."""

    @property
    def elsewhere(self) -> bool:
        """Whether workers are other processes, to which things are pickled."""

    def workers(self, factory: Factory[Result]) -> AbstractContextManager[Workers[Result]]:
        """Workers for several passes over parts; they end with the block."""

    def check_processes(self, count: int) -> None:
        """Raise SultanaError where a process group of `count` processes cannot be had."""

    def process_group(self, module: str, folder: Path, count: int) -> Generator[Message]:
        """What `count` processes tell that each run `module`.work(folder, tell), as they tell it.

        They are one group of torch.distributed: nccl with a CUDA device each, or gloo. `work` may be done
        again from its beginning, by all of them, where one was lost, so it has to leave in `folder` what it goes
        on from. Raises the SultanaError that `work` raises, and one where a process is lost for good. The
        processes end with the generator, and with this process however it ends.
        """


def in_order(compute: Compute, factory: Factory[Result], parts: Iterable[Any]) -> Iterator[Result]:
    """One pass: the result of each part, in the order of the parts."""
    with compute.workers(factory) as workers:
        yield from workers.map(parts)
