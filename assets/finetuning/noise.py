"""Noise on the embeddings while training: NEFTune and SymNoise, the controls that MDIT is compared with.

NEFTune (arXiv 2310.05914, algorithm 1) adds uniform noise from [-1, 1] · scale/√(L·d) to the embeddings
of a sequence of L tokens of width d; it is transformers' own hook. SymNoise (arXiv 2312.01523) takes
signs ±1 with equal chances in place of uniform noise, and here sees each batch twice, with +ε and with -ε,
whose losses are averaged; a step costs twice as much. Of that paper only the abstract and the beginning of
the introduction could be read: signs of that size are what a public implementation has, the opposed pair
is how we understand "symmetric" (the abstract says that it regulates the local curvature, which +ε and -ε
together do). No library has it.

As in transformers, L is the width of the padded micro-batch, or of its lines where rows are packed, so the
noise depends on `micro_batch`. An interpolated row's two parents get noise of their own, before they are
mixed. The hooks are on the model during a step only, and act in training mode only: evaluation and saved
weights know nothing of them.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch

from assets.finetuning.training_config import NoiseName


class _SymmetricNoise:
    """A forward hook of the embedding: draws signs in the first pass, and opposes them in the second."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.is_second = False
        self.signs: list[torch.Tensor] = []

    def __call__(self, module: torch.nn.Module, given: Any, states: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return states
        if self.is_second:
            signs = -self.signs.pop(0)
        else:
            signs = torch.randint_like(states, 0, 2) * 2 - 1
            self.signs.append(signs)
        return states + signs * (self.scale / math.sqrt(states.shape[1] * states.shape[2]))


class EmbeddingNoise:
    """The noise of a training configuration; `passes` says how often a batch is seen."""

    def __init__(self, model: Any, name: NoiseName, scale: float) -> None:
        self.model = model
        self.name = name
        self.scale = scale
        self._symmetric: _SymmetricNoise | None = None

    def passes(self) -> Iterator[int]:
        """One turn for each pass over a micro-batch: how many there are, by which its loss is divided."""
        if self._symmetric is None:
            yield 1
            return
        for is_second in (False, True):
            self._symmetric.is_second = is_second
            yield 2
        self._symmetric.signs.clear()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Put the noise on the model's embedding for the time of a step. Draws from torch's generator."""
        if self.name == "none":
            yield
        elif self.name == "neftune":
            from transformers.integrations.neftune import activate_neftune, deactivate_neftune

            handle = activate_neftune(self.model, self.scale)
            try:
                yield
            finally:
                deactivate_neftune(self.model, handle)
        else:
            self._symmetric = _SymmetricNoise(self.scale)
            handle = self.model.get_input_embeddings().register_forward_hook(self._symmetric)
            try:
                yield
            finally:
                handle.remove()
                self._symmetric = None
