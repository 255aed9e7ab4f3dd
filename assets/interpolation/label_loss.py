"""Cross entropy against one label, or against two with weights, without targets of vocabulary size.

Cross entropy is linear in its target, so CE(p, λ·Y_a + (1-λ)·Y_b) = λ·CE(p, y_a) + (1-λ)·CE(p, y_b)
exactly (MDIT §3, soft labels). States are projected to the vocabulary only where there is a label, and in
chunks: the gradient of a chunk is formed while its log-probabilities are at hand, so that at most
`CHUNK` x vocabulary numbers exist at a time.
"""

from typing import Any

import torch

CHUNK = 128
"""Label places projected at once. 128 x 49,152 float32 logits are 25 MB."""


def label_log_probabilities(
    states: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    chunk: int = CHUNK,
    cap: float | None = None,
) -> torch.Tensor:
    """Log-probabilities of labels, float32 (k, m), without gradients.

    `states` (m, h), `weight` (v, h) and `bias` (v,) in one dtype; `labels` int64 (k, m); `cap` as in
    `soft_label_loss`.
    """
    found = torch.empty(labels.shape, dtype=torch.float32, device=states.device)
    with torch.no_grad():
        for start in range(0, len(states), chunk):
            here = slice(start, start + chunk)
            logits = _capped(torch.nn.functional.linear(states[here], weight, bias).float(), cap)
            found[:, here] = logits.gather(1, labels[:, here].t()).t() - torch.logsumexp(logits, 1)
    return found


def _capped(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    return logits if cap is None else torch.tanh(logits / cap) * cap


class _SoftLabelLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        label_weights: torch.Tensor,
        chunk: int,
        cap: float | None,
    ) -> torch.Tensor:
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        for_states = torch.empty_like(states) if needs_states else None
        # Sums over chunks are float32 whatever the dtype of products.
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        for_bias = None
        if needs_bias and bias is not None:
            for_bias = torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, len(states), chunk):
            here = slice(start, start + chunk)
            hidden = states[here]
            logits = torch.nn.functional.linear(hidden, weight, bias)
            if cap is not None:
                logits = _capped(logits.float(), cap)
            log_probabilities = torch.log_softmax(logits, dim=1, dtype=torch.float32)
            places = labels[:, here].t()
            weights = label_weights[:, here].t()
            total -= (weights * log_probabilities.gather(1, places)).sum()
            # The gradient of -Σ_k w_k·log p[y_k] with respect to the logits: (Σ_k w_k)·p - Σ_k w_k·1[y_k].
            slope = log_probabilities.exp_().mul_(weights.sum(1, keepdim=True))
            slope = slope.scatter_add_(1, places, -weights)
            if cap is not None:
                slope *= 1 - (logits / cap).square()
            slope = slope.to(weight.dtype)
            if for_states is not None:
                torch.mm(slope, weight, out=for_states[here])
            if for_weight is not None:
                for_weight += slope.t().mm(hidden)
            if for_bias is not None:
                for_bias += slope.sum(0)
        ctx.gradients = (for_states, for_weight, for_bias)
        ctx.dtype = states.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (slope,) = slopes
        scaled = [None if one is None else one.mul_(slope).to(ctx.dtype) for one in ctx.gradients]
        ctx.gradients = (None, None, None)
        return (*scaled, None, None, None, None)


def soft_label_loss(
    states: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    label_weights: torch.Tensor,
    chunk: int = CHUNK,
    cap: float | None = None,
) -> torch.Tensor:
    """Σ over labels of weight x cross entropy, a float32 scalar with gradients.

    `states` (m, h) predict the labels; `weight` (v, h) and `bias` (v,) are the head's, in the dtype of
    `states`; `labels` int64 (k, m) and `label_weights` float32 (k, m), 0 where a side has no label. Logits z
    are taken as cap·tanh(z / cap) where there is a `cap` (Gemma 2, arXiv 2408.00118 §2). Can be differentiated once.
    """
    loss: torch.Tensor = _SoftLabelLoss.apply(states, weight, bias, labels, label_weights, chunk, cap)
    return loss
