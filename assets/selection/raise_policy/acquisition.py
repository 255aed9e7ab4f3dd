"""The two networks of RAISE: the acquisition function F_theta and the critic V_phi (RAISE §3.1, §3.5).

Both are drawn from explicit seeds and leave torch's global generator alone.
"""

import hashlib
import json

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from assets.selection.raise_policy.state import AVAILABILITY_COLUMNS, STAGE_COLUMNS
from resources.errors import SultanaError


class AcquisitionFunction(nn.Module):
    """F_theta: the value of training on a row now, 39 -> hidden -> 1.

    The hidden layer is needed: the softmax within a class cancels whatever is equal for all rows, so the
    stage acts only through its interaction with a row's features, which a linear function has none of.
    """

    def __init__(self, static_columns: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.static_columns = static_columns
        self.inner = skip_init(nn.Linear, STAGE_COLUMNS + static_columns + AVAILABILITY_COLUMNS, hidden)
        self.outer = skip_init(nn.Linear, hidden, 1)
        _draw_weights(self, seed)

    def forward(self, stage: Tensor, static: Tensor, counts: Tensor) -> Tensor:
        """Scores (m, N) of N rows at m steps.

        `stage` (m, 2), `static` (N, static columns), `counts` (m, N). The first layer is linear in its three
        parts, so the static one is multiplied once for all m steps and no N x 39 matrix is built.
        """
        by_stage, by_row, by_count = self.inner.weight.split(
            [STAGE_COLUMNS, self.static_columns, AVAILABILITY_COLUMNS], dim=1
        )
        of_rows = static @ by_row.T + self.inner.bias
        of_stage = stage @ by_stage.T
        of_counts = counts.to(static.dtype)[:, :, None] * by_count[:, 0]
        hidden = torch.tanh(of_rows[None] + of_stage[:, None] + of_counts)
        return self.outer(hidden)[..., 0]


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
    function: AcquisitionFunction, static: Tensor, scores: Tensor, performance: float, epochs: int, seed: int
) -> float:
    """Fit F_theta to scores of the rows (N,), at every stage alike; returns the final mean squared error.

    The scores (of a gradient-alignment scorer, say) are brought to mean 0 and deviation 1. Stage and counts
    are drawn anew in each of `epochs` updates (Adam, learning rate 1e-2), the performance within half of
    P_0's size around P_0 = `performance`, so that the fit does not hang on them.
    """
    if scores.shape != (len(static),) or not bool(torch.isfinite(scores).all()):
        raise SultanaError(
            f"The scores to start RAISE from have shape {tuple(scores.shape)} or are not all finite",
            f"Give one finite score for each of the pool's {len(static):,} rows",
        )
    if float(scores.std(correction=0)) == 0.0:
        raise SultanaError(
            "The scores to start RAISE from are all equal", "Leave them out, or give scores that differ"
        )
    target = ((scores - scores.mean()) / scores.std(correction=0)).to(static.dtype)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(function.parameters(), lr=1e-2)
    loss = torch.zeros(())
    for _ in range(epochs):
        stage = torch.rand(1, STAGE_COLUMNS, generator=generator)
        stage[0, 0] = performance + abs(performance) * (stage[0, 0] - 0.5)
        counts = torch.randint(0, 2, (1, len(static)), generator=generator)
        loss = ((function(stage, static, counts)[0] - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def _draw_weights(network: nn.Module, seed: int) -> None:
    """Uniform within 1/sqrt(inputs), torch's own default for a linear layer, from one generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.children():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
