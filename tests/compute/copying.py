"""An engine whose workers are in this process, and to which everything is copied by the methods of a pickle."""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from typing import Any

from resources.compute.boundary import Factory


class Copying:
    """Parts go to `count` workers in turn, each of which builds its own work."""

    elsewhere = True

    def __init__(self, count: int) -> None:
        self.count = count
        self.parts = 0

    @contextlib.contextmanager
    def workers(self, factory: Factory[Any]) -> Iterator["_Copied"]:
        """See `boundary.Compute`."""
        yield _Copied(self, factory)


class _Copied:
    def __init__(self, engine: Copying, factory: Factory[Any]) -> None:
        self._engine, self._factory = engine, factory
        self._works: dict[int, Any] = {}

    def map(self, parts: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """See `boundary.Workers`."""
        for number, part in enumerate(parts):
            place = number % self._engine.count
            if place not in self._works:
                self._works[place] = copy.deepcopy(self._factory)()
            self._engine.parts += 1
            yield copy.deepcopy(self._works[place](*copy.deepcopy((part, *shared))))
