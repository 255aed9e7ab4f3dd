"""The two networks of RAISE: the acquisition function F_theta and the critic V_phi (RAISE §3.1, §3.5).

Both are drawn from explicit seeds and leave torch's global generator alone.
"""

import hashlib
import json
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from assets.selection.raise_policy.state import AVAILABILITY_COLUMNS, STAGE_COLUMNS
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.selection.raise_policy.scoring import StaticFeatures

FEWEST_HELD_OUT = 20

FITTED_AT_ONCE = 16_384
"""Rows whose gradients are computed together; the whole pool makes one update all the same."""


class AcquisitionFunction(nn.Module):
    """F_theta: the value of training on a row now, 39 -> hidden -> 1.

    The hidden layer is needed: the softmax within a class cancels whatever is equal for all rows, so the
    stage acts only through its interaction with a row's features, which a linear function has none of.
    """

    def __init__(self, static_columns: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.static_columns, self.hidden = static_columns, hidden
        self.inner = skip_init(nn.Linear, STAGE_COLUMNS + static_columns + AVAILABILITY_COLUMNS, hidden)
        self.outer = skip_init(nn.Linear, hidden, 1)
        _draw_weights(self, seed)

    def forward(self, stage: Tensor, static: Tensor, counts: Tensor) -> Tensor:
        """Scores (m, n) of n rows at m steps, differentiable; for few rows (`scoring.py` has whole pools).

        `stage` (m, 2), `static` (n, static columns), or (m, n, static columns) where the steps' rows differ,
        `counts` (m, n). The first layer is linear in its three parts, so no n x 39 matrix is built.
        """
        by_stage, by_row, by_count = self._split()
        of_rows = static @ by_row.T + self.inner.bias
        of_stage = stage @ by_stage.T
        of_counts = counts.to(static.dtype)[:, :, None] * by_count[:, 0]
        return self.outer(torch.tanh(of_rows + of_stage[:, None] + of_counts))[..., 0]

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The first layer's weights by what they multiply, without gradient.

        Stage (hidden, 2), static features (hidden, static columns), count (hidden,).
        """
        by_stage, by_row, by_count = (weight.detach() for weight in self._split())
        return by_stage, by_row, by_count[:, 0]

    def static_part(self, static: Tensor) -> Tensor:
        """What the static features (n, static columns) give to the hidden units, (n, hidden), without gradient."""
        return torch.addmm(self.inner.bias.detach(), static, self.parts()[1].T)

    def output(self, hidden: Tensor) -> Tensor:
        """Scores (n,) of hidden units (n, hidden), without gradient."""
        return hidden @ self.outer.weight.detach()[0] + self.outer.bias.detach()

    def _split(self) -> tuple[Tensor, ...]:
        return self.inner.weight.split([STAGE_COLUMNS, self.static_columns, AVAILABILITY_COLUMNS], dim=1)


class Critic(nn.Module):
    """V_phi: the performance still to be gained, from [P_{t-1}, P_{t-1} - P_0, t/T]."""

    def __init__(self, hidden: int, seed: int) -> None:
        super().__init__()
        self.inner = skip_init(nn.Linear, 3, hidden)
        self.outer = skip_init(nn.Linear, hidden, 1)
        _draw_weights(self, seed)

    def forward(self, states: Tensor) -> Tensor:
        """Values (m,) of states (m, 3)."""
        return self.outer(torch.tanh(self.inner(states)))[..., 0]


def policy_sha256(network: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of a network's weights, in order of name."""
    root = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        array = weight.detach().cpu().contiguous().numpy()
        root.update(json.dumps([name, list(array.shape), str(array.dtype)]).encode())
        root.update(array.tobytes())
    return root.hexdigest()


def warm_start(
    function: AcquisitionFunction,
    static: "StaticFeatures",
    scores: Tensor,
    performance: float,
    epochs: int,
    seed: int,
) -> float:
    """Fit F_theta to scores of the rows (N,), at every stage alike; returns its mean squared error.

    Rows whose score is NaN are left out of the fit: scores may be known for some rows only, and F_theta
    generalises. The scores (of a gradient-alignment scorer, say) are brought to mean 0 and deviation 1. Stage
    and counts are drawn anew in each of at most `epochs` updates (Adam, learning rate 1e-2), the performance within
    half of P_0's size around P_0 = `performance`, so that the fit does not hang on them.

    Of the known rows every fifth, drawn by `seed`, is held out, and the weights are those that did best on them:
    some hundred gradients are noise in good part, and a fit to the end was worse than an early one (correlation
    with scores of other rows 0.51 against 0.63, 608 rows, GSM8K). The error is that of the rows held out, or
    of all where fewer than `FEWEST_HELD_OUT` would be.
    """
    if scores.shape != (len(static),) or bool(torch.isinf(scores).any()):
        raise SultanaError(
            f"The scores to start RAISE from have shape {tuple(scores.shape)} or hold an infinite one",
            f"Give one score for each of the pool's {len(static):,} rows, NaN where it is not known",
            code="start-scores-invalid",
        )
    known = torch.nonzero(~torch.isnan(scores))[:, 0]
    if len(known) < 2:
        raise SultanaError(
            f"The scores to start RAISE from are known for {len(known)} of {len(static):,} rows",
            "Give finite scores for at least 2 rows, or leave them out",
            code="start-scores-invalid",
        )
    values = scores[known]
    if float(values.std(correction=0)) == 0.0:
        raise SultanaError(
            "The scores to start RAISE from are all equal",
            "Leave them out, or give scores that differ",
            code="start-scores-invalid",
        )
    target = ((values - values.mean()) / values.std(correction=0)).float()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(known), generator=generator)
    held_out, fitted = order[: len(known) // 5], order[len(known) // 5 :]
    if len(held_out) < FEWEST_HELD_OUT:
        held_out = fitted = order
    optimizer = torch.optim.Adam(function.parameters(), lr=1e-2)
    best, kept = math.inf, {name: weight.clone() for name, weight in function.state_dict().items()}
    for _ in range(epochs):
        stage = torch.rand(1, STAGE_COLUMNS, generator=generator)
        stage[0, 0] = performance + abs(performance) * (stage[0, 0] - 0.5)
        optimizer.zero_grad()
        for part in fitted.split(FITTED_AT_ONCE):
            counts = torch.randint(0, 2, (1, len(part)), generator=generator)
            found = function(stage, static.take(known[part]), counts)[0]
            loss = ((found - target[part]) ** 2).sum() / len(fitted)
            loss.backward()
        optimizer.step()
        error = 0.0
        with torch.no_grad():
            for part in held_out.split(FITTED_AT_ONCE):
                counts = torch.zeros(1, len(part), dtype=torch.int64)
                found = function(stage, static.take(known[part]), counts)[0]
                error += float(((found - target[part]) ** 2).sum()) / len(held_out)
        if error < best:
            best, kept = error, {name: weight.clone() for name, weight in function.state_dict().items()}
    function.load_state_dict(kept)
    return best


def _draw_weights(network: nn.Module, seed: int) -> None:
    """Uniform within 1/sqrt(inputs), torch's own default for a linear layer, from one generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.children():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
