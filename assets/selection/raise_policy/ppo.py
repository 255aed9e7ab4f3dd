"""Proximal policy optimisation of the acquisition function (RAISE §3.5, eq. 7-13)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from assets.selection.raise_policy.acquisition import AcquisitionFunction, Critic
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.rollout import Episode
from assets.selection.raise_policy.select import class_log_softmax
from assets.selection.raise_policy.state import critic_features, selection_counts, stage_features

LOG_RATIO_LIMIT = 10.0
"""Log-ratios are held within this: one update at the published rates reaches 1,000, beyond float32's exp."""


@dataclass(frozen=True)
class Update:
    """What one round's optimisation did; means over its minibatches."""

    actor_loss: float
    critic_loss: float
    ratio_mean: float
    ratio_largest: float
    clipped: float  # share of steps whose ratio left 1 +- clip
    gradient_norm: float  # of the actor, before clipping


def generalised_advantages(
    rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of every step, (T,) each (eq. 7-9).

    `rewards` (T,), `values` (T,) = V(S_1) ... V(S_T). V(S_{T+1}) is 0: the run is over. The sum goes over all
    remaining steps; eq. 8 as printed, with t from 1, would drop the last one.
    """
    advantages = torch.zeros_like(rewards)
    following_value = torch.zeros((), dtype=rewards.dtype)
    following = torch.zeros((), dtype=rewards.dtype)
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + gamma * following_value - values[t]
        following = delta + gamma * gae_lambda * following
        following_value = values[t]
        advantages[t] = following
    return advantages, advantages + values


def scaled_advantages(advantages: Tensor, how: Literal["per_step", "normalised", "raw"]) -> Tensor:
    """Advantages (episodes, T) made comparable.

    "normalised": mean 0 and deviation 1 over the round. "per_step": the episodes' mean at the same step is
    taken off first, since early steps earn more whatever they train on and a critic of few runs has not
    learned that; with one episode there is nothing to compare and it is "normalised". "raw": unchanged, as
    in the paper.
    """
    if how == "raw":
        return advantages
    centre = (
        advantages.mean(0, keepdim=True) if how == "per_step" and len(advantages) > 1 else advantages.mean()
    )
    centred = advantages - centre
    return centred / centred.std(correction=0).clamp_min(1e-8)


def log_ratio(new: Tensor, old: Tensor, how: Literal["geometric", "joint"]) -> Tensor:
    """log of eq. 11 for batches (m, B) of log-probabilities: (m,), held within +-LOG_RATIO_LIMIT.

    "joint" is the product over the batch as printed; "geometric" its B-th root, which does not grow with B.
    """
    differences = new - old
    total = differences.sum(1) if how == "joint" else differences.mean(1)
    return total.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def actor_loss(log_ratios: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped objective (eq. 12) of steps (m,)."""
    ratios = log_ratios.exp()
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages).mean()


def critic_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Mean squared error of the values (eq. 13) of steps (m,)."""
    return ((values - returns) ** 2).mean()


def update(
    function: AcquisitionFunction,
    critic: Critic,
    actor_optimizer: torch.optim.Optimizer,
    critic_optimizer: torch.optim.Optimizer,
    episodes: Sequence[Episode],
    static: Tensor,
    classes: Tensor,
    config: RaiseConfig,
    generator: torch.Generator,
) -> Update:
    """K2 passes over the steps of one round's episodes, in minibatches drawn by `generator`."""
    stage = torch.cat([stage_features(episode.performances[:-1], config.steps) for episode in episodes])
    seen = torch.cat([critic_features(episode.performances[:-1], config.steps) for episode in episodes])
    counts = torch.cat([selection_counts(episode.actions, len(static)) for episode in episodes])
    actions = torch.cat([episode.actions for episode in episodes])
    old = torch.cat([episode.log_probabilities for episode in episodes])
    rewards = torch.tensor([episode.rewards for episode in episodes], dtype=torch.float32)
    with torch.no_grad():
        values = critic(seen).view(len(episodes), -1)
    pairs = [
        generalised_advantages(reward, value, config.gamma, config.gae_lambda)
        for reward, value in zip(rewards, values, strict=True)
    ]
    advantages = scaled_advantages(torch.stack([pair[0] for pair in pairs]), config.advantages).flatten()
    returns = torch.cat([pair[1] for pair in pairs])

    figures = []
    for _ in range(config.epochs):
        order = torch.randperm(len(stage), generator=generator)
        for part in order.split(config.minibatch):
            nu = counts[part]
            if config.maximum_repeats is None:
                allowed = torch.ones_like(nu, dtype=torch.bool)
            else:
                allowed = nu < config.maximum_repeats
            scores = function(stage[part], static, nu)
            new = class_log_softmax(scores, classes, allowed).gather(1, actions[part])
            ratios = log_ratio(new, old[part], config.ratio)
            actor = actor_loss(ratios, advantages[part], config.clip)
            norm = _descend(actor, function, actor_optimizer, config.gradient_clip)
            of_critic = critic_loss(critic(seen[part]), returns[part])
            _descend(of_critic, critic, critic_optimizer, config.gradient_clip)
            plain = ratios.detach().exp()
            outside = ((plain - 1).abs() > config.clip).float().mean()
            figures.append(
                [float(actor.detach()), float(of_critic.detach()), float(plain.mean()), float(plain.max())]
                + [float(outside), norm]
            )
    columns = list(zip(*figures, strict=True))
    means = [sum(column) / len(column) for column in columns]
    return Update(means[0], means[1], means[2], max(columns[3]), means[4], means[5])


def _descend(
    loss: Tensor, network: torch.nn.Module, optimizer: torch.optim.Optimizer, gradient_clip: float | None
) -> float:
    """One optimizer step; returns the gradient's norm before clipping."""
    optimizer.zero_grad()
    loss.backward()
    limit = float("inf") if gradient_clip is None else gradient_clip
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    optimizer.step()
    return float(norm)
