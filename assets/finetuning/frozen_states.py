"""The states that enter the first trained layer, kept: what lies below does not change while training.

Where only the top layers are trained, the layers under them give the same states for the same row at
every step. RAISE measures one reward split after every step of every training run, and its runs share their
rows, so those layers are run once a row instead of once a step. A row's states are computed alone, without
padding: they do not hang on the batch that asks for them, on what was asked before, or on whether they were
kept. Left out on purpose: noise on the embeddings, which changes the states from step to step.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from assets.interpolation.alignment import AlignedRow
from assets.interpolation.mixing import Batch, collate
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.finetuning.forward import Decoder


class FrozenStates:
    """States (tokens, hidden) of rows at the entry of a decoder's layer `first`, at most `limit` bytes of them.

    Once the limit is reached, the states of further rows are computed again each time they are asked for.
    """

    def __init__(self, decoder: "Decoder", first: int, limit: int) -> None:
        self.first = first
        self.limit = limit
        self.used_bytes = 0
        self.computed = 0  # rows that went through the layers below
        self.computed_tokens = 0
        self._decoder = decoder
        self._kept: dict[bytes, torch.Tensor] = {}

    def serves(self, row: AlignedRow) -> bool:
        """Whether all that happens to the row below the first trained layer is the same at every step."""
        return row.layer < self.first

    def put_into(
        self, batch: Batch, rows: Sequence[AlignedRow], places: Sequence[tuple[int, int]] | None = None
    ) -> Batch:
        """`batch`, which was collated from these rows at these places, with their states."""
        places = [(line, 0) for line in range(len(rows))] if places is None else places
        found = [self._of(row) for row in rows]
        states = found[0].new_zeros(*batch.ids.shape[1:], found[0].shape[-1])
        for (line, start), one in zip(places, found, strict=True):
            states[line, start : start + len(one)] = one
        return replace(batch, frozen=states)

    def _of(self, row: AlignedRow) -> torch.Tensor:
        key = content_of(row)
        if key in self._kept:
            return self._kept[key]
        batch = collate([row], device=self._decoder.device)
        with torch.no_grad(), _evaluating(self._decoder.model), self._decoder.precision():
            self._decoder.choose_attention(
                row.width
            )  # not what the last batch left behind: kernels round differently
            states = states_before(self._decoder, batch, self.first)[0, : row.width]
        self.computed += 1
        self.computed_tokens += row.width
        size = states.numel() * states.element_size()
        if self.used_bytes + size <= self.limit:
            self.used_bytes += size
            self._kept[key] = states.clone()
        return states


def content_of(row: AlignedRow) -> bytes:
    """What decides a row's states: its tokens, and where and how they are mixed."""
    content = hashlib.blake2b(row.ids.tobytes(), digest_size=16)
    content.update(repr((row.ids.shape, row.layer, row.starts, row.ends)).encode())
    if len(row.ids) > 1:
        content.update(row.coefficients.tobytes())
    return content.digest()


def states_before(decoder: "Decoder", batch: Batch, first: int) -> torch.Tensor:
    """The states (l, n, h) of a batch that enter layer `first`, without running that layer or those above."""
    caught: list[torch.Tensor] = []

    def catch(module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(given[0] if given else named["hidden_states"])

    layers = decoder.layers
    handle = layers[first].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with _passed_through(list(layers)[first:]):
            decoder.run(batch)
    finally:
        handle.remove()
    return caught[0]


@contextlib.contextmanager
def entering_at(layers: Sequence[torch.nn.Module], first: int, states: torch.Tensor) -> Iterator[None]:
    """While this lasts, the layers below `first` do nothing and layer `first` is given `states`.

    Raises SultanaError where the layer gets states of another shape.
    """

    def enter(
        module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        found = given[0] if given else named["hidden_states"]
        if found.shape != states.shape:
            raise SultanaError(
                f"{type(module).__name__} gets states of shape {tuple(found.shape)}; {tuple(states.shape)} are kept",
                "Set frozen_states_bytes to 0 for this model",
                code="model-unsuitable",
            )
        if given:
            return (states, *given[1:]), named
        return given, named | {"hidden_states": states}

    handle = layers[first].register_forward_pre_hook(enter, with_kwargs=True)
    try:
        with _passed_through(list(layers)[:first]):
            yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _passed_through(layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """While this lasts, these layers hand on the states that they are given."""
    for layer in layers:
        layer.forward = _hand_on
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _hand_on(*given: Any, **named: Any) -> Any:
    return given[0] if given else named["hidden_states"]


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
