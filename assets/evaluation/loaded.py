"""A loaded model that is asked in parts: here, or in workers, each of which has loaded it once.

A part is called with the model and its tokenizer, and is one batch: whoever asks forms the batches, from the
examples alone, before they are handed out. So the same sums are formed in the same order whatever the engine and
the number of workers, and results are the same bit by bit where workers have as many threads.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from resources.compute.alike import check_model
from resources.compute.boundary import Compute, Workers
from resources.compute.this_machine import THIS_MACHINE

Result = TypeVar("Result")
Part = Callable[[Any, Any], Result]
"""What is done with (model, tokenizer); pickled where workers are elsewhere."""


class Loadable(Protocol):
    """A model by its settings: `LanguageModel`, or `TunedModel`, which has a checkpoint's weights in it."""

    def fingerprint(self) -> str:
        """A hash of weights and tokenizer."""

    def load(self) -> tuple[Any, Any]:
        """(model, tokenizer), ready to evaluate."""

    def load_tokenizer(self) -> Any:
        """The tokenizer alone."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that answers, and its tokenizer, which is here wherever the model is."""

    tokenizer: Any
    workers: Workers[Any]

    def map(self, parts: Iterable[Part[Result]]) -> Iterator[Result]:
        """What each part gives, in the order of the parts; one pass at a time."""
        return self.workers.map(parts)

    def ask(self, part: Part[Result]) -> Result:
        """What one part gives."""
        (found,) = self.map([part])
        return found


@contextmanager
def loaded(model: Loadable, compute: Compute = THIS_MACHINE) -> Iterator[LoadedModel]:
    """`model` at work as long as the block lasts; loaded at the first part."""
    with compute.workers(_Loading(model, model.fingerprint())) as workers:
        yield LoadedModel(model.load_tokenizer(), workers)


def held(model: Any, tokenizer: Any) -> LoadedModel:
    """A model that is loaded in this process already."""
    return LoadedModel(tokenizer, _Held((model, tokenizer)))


@contextmanager
def in_evaluation(model: Any) -> Iterator[None]:
    """A model of torch without dropout and without gradients; it is then as it was before."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class _Loading:
    """Builds what does the parts: the model, loaded."""

    model: Loadable
    fingerprint: str

    def __call__(self) -> Callable[[Part[Any]], Any]:
        check_model(self.model, self.fingerprint)
        return _Held(self.model.load())


class _Held:
    def __init__(self, pair: tuple[Any, Any]) -> None:
        self._pair = pair

    def __call__(self, part: Part[Result]) -> Result:
        return part(*self._pair)

    def map(self, parts: Iterable[Part[Any]], *shared: Any) -> Iterator[Any]:
        """See `boundary.Workers`."""
        return map(self, parts)
