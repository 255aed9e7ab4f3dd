"""The engine of one machine: a plain loop in this process, and process groups that accelerate starts."""

import contextlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic

from resources.compute.boundary import Compute, Factory, Message, Result, Work
from resources.compute.launched import check_devices, launched_group


class ThisMachine:
    """Does the parts one after the other, here. Nothing is copied or pickled."""

    elsewhere = False

    @contextlib.contextmanager
    def workers(self, factory: Factory[Result]) -> Iterator["_ThisProcess[Result]"]:
        """See `boundary.Compute`; built at the first part."""
        yield _ThisProcess(factory)

    def check_processes(self, count: int) -> None:
        """See `boundary.Compute`: each process has a CUDA device of its own where there are any."""
        check_devices(count)

    def process_group(self, module: str, folder: Path, count: int) -> Generator[Message]:
        """See `boundary.Compute`. A process that is lost is not replaced."""
        return launched_group(module, folder, count)


class _ThisProcess(Generic[Result]):
    def __init__(self, factory: Factory[Result]) -> None:
        self._factory = factory
        self._work: Work[Result] | None = None

    def map(self, parts: Iterable[Any], *shared: Any) -> Iterator[Result]:
        for part in parts:
            if self._work is None:
                self._work = self._factory()
            yield self._work(part, *shared)


THIS_MACHINE: Compute = ThisMachine()
