"""MDIT's loss the long way: every place of every row written out, soft labels over the whole vocabulary.

Independent of the code under test: whole models of transformers, one row at a time, without padding.
"""

from typing import Any

import torch

from assets.finetuning.encoding import Encoded

Place = list[tuple[Encoded, int, float, float]]


def places(a: Encoded, b: Encoded, lam: float, alignment: str) -> list[Place]:
    """Of each place: the (row, token, share of its embedding, share of its label) that meet there."""
    if alignment.startswith("start"):
        border_a = border_b = 0
    else:
        border_a, border_b = a.response_start, b.response_start
    if alignment == "shorter":
        first = -min(border_a, border_b)
        last = min(len(a) - border_a, len(b) - border_b)
    else:
        first = -max(border_a, border_b)
        last = max(len(a) - border_a, len(b) - border_b)
    found = []
    for offset in range(first, last):
        meet = [(a, border_a + offset, lam), (b, border_b + offset, 1 - lam)]
        meet = [(row, at, share) for row, at, share in meet if 0 <= at < len(row)]
        alone = len(meet) == 1 and not alignment.endswith("scaled")
        found.append([(row, at, 1.0 if alone else share, share) for row, at, share in meet])
    return found


def labels(layout: list[Place], vocabulary: int) -> torch.Tensor:
    """Soft labels (n, vocabulary): Y = λ·Y_a + (1-λ)·Y_b. A side's first token is predicted by nothing."""
    targets = torch.zeros(len(layout), vocabulary)
    seen: set[str] = set()
    for place, meet in enumerate(layout):
        for row, at, _, share in meet:
            if row.trained[at] and row.row_id in seen:
                targets[place, int(row.ids[at])] += share
            seen.add(row.row_id)
    return targets


def embeddings(model: Any, layout: list[Place]) -> torch.Tensor:
    """λ·E(a) + (1-λ)·E(b) through the model's own embedding module: (n, h)."""
    embedding = model.get_input_embeddings()
    return torch.stack(
        [
            sum(share * embedding(torch.tensor([int(row.ids[at])]))[0] for row, at, share, _ in meet)
            for meet in layout
        ]
    )


def cross_entropy(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ of the cross entropy against soft labels, by a whole forward of the model."""
    logits = model(inputs_embeds=states[None], use_cache=False).logits[0].float()
    return -(targets[1:] * torch.log_softmax(logits[:-1], -1)).sum()


def plain_loss(model: Any, row: Encoded) -> tuple[torch.Tensor, float]:
    """Σ of cross entropy over a row's trained tokens, by ids, and their number."""
    ids = torch.from_numpy(row.ids).long()
    logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
    trained = torch.from_numpy(row.trained)[1:]
    losses = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
    return losses[trained].sum(), float(trained.sum())


def batch_loss(model: Any, originals: list[Encoded], mixes: list[tuple[Any, ...]]) -> torch.Tensor:
    """The mean over live label weight of originals and of mixes (a, b, λ, alignment)."""
    total, weight = torch.zeros(()), 0.0
    for row in originals:
        loss, count = plain_loss(model, row)
        total, weight = total + loss, weight + count
    for a, b, lam, alignment in mixes:
        layout = places(a, b, lam, alignment)
        targets = labels(layout, model.get_output_embeddings().weight.shape[0])
        total = total + cross_entropy(model, embeddings(model, layout), targets)
        weight += float(targets.sum())
    return total / weight
