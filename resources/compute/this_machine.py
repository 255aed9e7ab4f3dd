"""The engine of one machine: a plain loop in this process."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Generic

from resources.compute.boundary import Compute, Factory, Result, Work


class ThisMachine:
    """Does the parts one after the other, here. Nothing is copied or pickled."""

    elsewhere = False

    @contextlib.contextmanager
    def workers(self, factory: Factory[Result]) -> Iterator["_ThisProcess[Result]"]:
        """See `boundary.Compute`; built at the first part."""
        yield _ThisProcess(factory)


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
