"""A random projection of gradients that keeps their inner products."""

from typing import Any

import torch


class Projection:
    """A sparse random projection of vectors of p numbers to `dimensions`, seeded.

    Coordinates go to the dimensions in turn, each with a random sign, so that a vector costs one pass over it and
    no matrix. The error of an inner product is about the product of both lengths / sqrt(dimensions).
    """

    def __init__(self, length: int, dimensions: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._made_of = (length, dimensions, seed)
        self.dimensions = dimensions
        self._sign = torch.randint(0, 2, (length,), generator=generator).float() * 2 - 1

    def __reduce__(self) -> tuple[Any, ...]:
        return Projection, self._made_of

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(l, p) float32 -> (l, dimensions) float32; inner products are kept on average."""
        signed = vectors.cpu() * self._sign
        whole = signed.shape[1] // self.dimensions * self.dimensions
        out = signed[:, :whole].view(len(signed), -1, self.dimensions).sum(dim=1)
        out[:, : signed.shape[1] - whole] += signed[:, whole:]
        return out
