"""Proximal policy optimisation of the acquisition function (RAISE §3.5, eq. 7-13)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from assets.selection.raise_policy.acquisition import AcquisitionFunction, Critic
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.rollout import Episode
from assets.selection.raise_policy.scoring import (
    Classes,
    Decision,
    StaticFeatures,
    descend_normalisers,
    log_normalisers,
    selected_scores,
)
from assets.selection.raise_policy.state import EarlierSelections, critic_features, stage_features
from resources.errors import SultanaError

LOG_RATIO_LIMIT = 10.0
"""Log-ratios are held within this: one update at the published rates reaches 1,000, beyond float32's exp."""


@dataclass(frozen=True)
class Update:
    """What one round's optimisation did; means over its minibatches."""

    actor_loss: float
    critic_loss: float
    ratio_mean: float
    ratio_largest: float
    clipped: float  # share of the ratios that left 1 +- clip
    gradient_norm: float  # of the actor, before clipping
    updates: int  # optimizer steps of either network


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
    """log of eq. 11 for batches (m, B) of log-probabilities, held within +-LOG_RATIO_LIMIT.

    "joint" is the product over the batch as printed; "geometric" its B-th root, which does not grow with B. (m,).
    """
    difference = new - old
    total = difference.sum(1) if how == "joint" else difference.mean(1)
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
    static: StaticFeatures,
    classes: Classes,
    config: RaiseConfig,
    generator: torch.Generator,
) -> Update:
    """K2 passes over the steps of one round's episodes, in minibatches drawn by `generator`.

    Steps whose rows were chosen at once (`config.select_every`) stay together: their probabilities are those in
    the state they were chosen in, their advantages those of the steps the rows were trained on. Memory: a few
    blocks of rows, whatever the pool's size. Raises SultanaError where a loss is not finite.
    """
    seen = torch.cat([critic_features(episode.performances[:-1], config.steps) for episode in episodes])
    actions = torch.cat([episode.actions for episode in episodes])
    old = torch.cat([episode.log_probabilities for episode in episodes])
    labels = classes.of_rows[actions].long()
    rewards = torch.tensor([episode.rewards for episode in episodes], dtype=torch.float32)
    with torch.no_grad():
        values = critic(seen).view(len(episodes), -1)
    pairs = [
        generalised_advantages(reward, value, config.gamma, config.gae_lambda)
        for reward, value in zip(rewards, values, strict=True)
    ]
    advantages = scaled_advantages(torch.stack([pair[0] for pair in pairs]), config.advantages).flatten()
    returns = torch.cat([pair[1] for pair in pairs])

    starts = [
        (number, step)
        for number in range(len(episodes))
        for step in range(0, config.steps, config.select_every)
    ]
    at_once = max(1, config.minibatch // config.select_every)
    figures = []
    for _ in range(config.epochs):
        order = torch.randperm(len(starts), generator=generator)
        for part in order.split(at_once):
            chosen = [starts[place] for place in part.tolist()]
            decisions = [_decision(episodes[number], step, config) for number, step in chosen]
            owners, steps = _steps_of(chosen, config)
            normalisers = log_normalisers(function, static, classes, decisions)
            normalisers.requires_grad_()
            scores = selected_scores(function, static, [decisions[i] for i in owners], actions[steps])
            new = scores - normalisers[torch.tensor(owners)].gather(1, labels[steps])
            ratios = log_ratio(new, old[steps], config.ratio)
            actor = actor_loss(ratios, advantages[steps], config.clip)
            actor_optimizer.zero_grad()
            actor.backward()
            assert normalisers.grad is not None
            descend_normalisers(
                function,
                static,
                classes,
                decisions,
                normalisers.detach(),
                normalisers.grad,
            )
            norm = _step(function, actor_optimizer, config.gradient_clip)
            of_critic = critic_loss(critic(seen[steps]), returns[steps])
            critic_optimizer.zero_grad()
            of_critic.backward()
            _step(critic, critic_optimizer, config.gradient_clip)
            plain = ratios.detach().exp()
            outside = ((plain - 1).abs() > config.clip).double().mean()
            figures.append(
                [float(actor.detach()), float(of_critic.detach()), float(plain.mean()), float(plain.max())]
                + [float(outside), norm]
            )
            if not all(math.isfinite(one) for one in figures[-1]):
                raise SultanaError(
                    f"The optimisation of RAISE's policy diverged: loss {figures[-1][0]}, gradient norm {norm}",
                    "Lower actor_learning_rate and critic_learning_rate, or set gradient_clip",
                    code="training-diverged",
                )
    columns = list(zip(*figures, strict=True))
    means = [sum(column) / len(column) for column in columns]
    return Update(means[0], means[1], means[2], max(columns[3]), means[4], means[5], len(figures))


def _decision(episode: Episode, step: int, config: RaiseConfig) -> Decision:
    """The state in which the rows of `step` were chosen, from the episode's history."""
    stage = stage_features(episode.performances[: step + 1], config.steps)[-1]
    return Decision(stage, EarlierSelections.of(episode.actions[:step]), config.cap_at(step))


def _steps_of(chosen: Sequence[tuple[int, int]], config: RaiseConfig) -> tuple[list[int], Tensor]:
    """The steps of all episodes, counted through, whose rows these decisions chose; and each one's decision."""
    owners: list[int] = []
    steps: list[int] = []
    for owner, (number, start) in enumerate(chosen):
        stop = min(start + config.select_every, config.steps)
        steps += range(number * config.steps + start, number * config.steps + stop)
        owners += [owner] * (stop - start)
    return owners, torch.tensor(steps)


def _step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, gradient_clip: float | None) -> float:
    """One optimizer step on the gradients that are there; returns their norm before clipping."""
    limit = float("inf") if gradient_clip is None else gradient_clip
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    optimizer.step()
    return float(norm)
