"""RAISE's fused state without its copies (RAISE §3.3, eq. 2-6).

At step t the state is a matrix of N rows x 39 columns: 2 of the training stage, 4 of difficulty, 32 of
semantics, 1 of availability. Between steps only two numbers and the counts change, so an episode keeps
the static matrix by reference, the performances and the rows selected; everything else is derived.
This is what the paper names as its limit (a buffer of T x N x 39), removed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

STAGE_COLUMNS = 2
AVAILABILITY_COLUMNS = 1


def stage_features(performances: Sequence[float], steps: int) -> Tensor:
    """H_stage of every step whose previous performance is known: [P_{t-1}, t/T] (eq. 2).

    `performances` are P_0, P_1, ...; the result is (len(performances), 2) float32, its row i being
    step t = i + 1 of the paper.
    """
    previous = torch.tensor(performances, dtype=torch.float32)
    progress = torch.arange(1, len(performances) + 1, dtype=torch.float32) / steps
    return torch.stack([previous, progress], dim=1)


def critic_features(performances: Sequence[float], steps: int) -> Tensor:
    """What the critic sees, (len(performances), 3) float32: [P_{t-1}, P_{t-1} - P_0, t/T].

    The paper leaves V's input open. The static features are constants of the pool and the counts sum to
    (t - 1) B, so a pooled state says nothing that these three do not.
    """
    stage = stage_features(performances, steps)
    gain = torch.tensor([value - performances[0] for value in performances], dtype=torch.float32)
    return torch.stack([stage[:, 0], gain, stage[:, 1]], dim=1)


def selection_counts(actions: Tensor, rows: int) -> Tensor:
    """nu before each step (eq. 5): how often each row was selected earlier in the run.

    `actions` (T, B) int64 are positions in the pool; the result is (T, rows) int16.
    """
    selected = torch.zeros(len(actions), rows, dtype=torch.int16)
    if len(actions) > 1:
        ones = torch.ones_like(actions[:-1], dtype=torch.int16)
        selected[1:].scatter_add_(1, actions[:-1], ones)
    return selected.cumsum(0, dtype=torch.int16)


def fuse(stage: Tensor, static: Tensor, counts: Tensor) -> Tensor:
    """The whole state of one step, (N, 2 + static columns + 1) float32, in the order of eq. 6.

    For inspection and tests; `AcquisitionFunction` computes the same without it.
    `stage` (2,), `static` (N, 36), `counts` (N,).
    """
    return torch.cat(
        [stage.expand(len(static), STAGE_COLUMNS), static, counts.to(static.dtype)[:, None]], dim=1
    )
