"""RAISE's policy training and the curriculum that it deploys (RAISE Algorithm 2, appendix D).

K rounds: gather G training runs with the present policy, then optimise it. The curriculum is what the best
policy selects in a last run without exploration, whose performance is thereby known. That performance was
optimised for: compare strategies on the test split, never on the reward split.
"""

import hashlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assets.ledger import Selection
from assets.records import digest
from assets.selection import static as static_strategies
from assets.selection.pool import Pool, selection
from assets.selection.raise_policy.acquisition import AcquisitionFunction, Critic, policy_sha256, warm_start
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import Features
from assets.selection.raise_policy.ppo import Update, update
from assets.selection.raise_policy.result import Baseline, RaiseResult, RoundReport
from assets.selection.raise_policy.rollout import Environment, Episode, checked, collect
from assets.selection.raise_policy.select import class_indices
from resources.errors import SultanaError


def seed_for(seed: int, *purpose: str | int) -> int:
    """A seed of its own for each use of randomness, from 0 to 2^63 - 1."""
    return int(digest([seed, *purpose])[:16], 16) >> 1


def train_policy(
    environment: Environment,
    features: Features,
    pool: Pool,
    config: RaiseConfig,
    on_round: Callable[[RoundReport, dict[str, Any]], None] | None = None,
    *,
    initial_scores: Sequence[float] | NDArray[Any] | None = None,
    resume: Mapping[str, Any] | None = None,
) -> RaiseResult:
    """Learn an acquisition function in the environment and deploy it.

    `features` are of the pool's rows in the pool's order. `initial_scores` (N,) of another scorer, where
    given, are what the acquisition function is fitted to before the first round. After each round `on_round`
    gets the report and a state of tensors, numbers and texts (`torch.save`, and `torch.load` with
    weights_only); given back as `resume` with the same inputs, the training goes on after that round and ends
    the same. Costs `config.training_runs` training runs. Raises SultanaError where features and pool differ
    in rows, the pool can run dry, a performance is not finite, or the state is of other inputs.
    """
    if len(features) != len(pool):
        raise SultanaError(
            f"There are features of {len(features):,} rows for a pool of {len(pool):,}",
            "Build the features from the pool's rows, in the pool's order",
        )
    config.check_pool(len(pool))
    training = _PolicyTraining(environment, features, pool, config, initial_scores)
    if resume is not None:
        training.load_state(resume)
    while len(training.rounds) < config.rounds:
        report = training.round()
        if on_round is not None:
            on_round(report, training.state())
    return training.deploy()


class _PolicyTraining:
    def __init__(
        self,
        environment: Environment,
        features: Features,
        pool: Pool,
        config: RaiseConfig,
        initial_scores: Sequence[float] | NDArray[Any] | None,
    ) -> None:
        self.environment, self.pool, self.config = environment, pool, config
        self.static = torch.from_numpy(features.static.copy())
        clusters = torch.from_numpy(pool.clusters.astype(np.int64))
        self.classes = class_indices(clusters if config.use_clusters else torch.zeros_like(clusters))
        self.seeds = {name: seed_for(config.seed, name) for name in ("actor", "critic", "warm_start")}
        self.function = AcquisitionFunction(self.static.shape[1], config.hidden, self.seeds["actor"])
        self.critic = Critic(config.critic_hidden, self.seeds["critic"])
        scores = None if initial_scores is None else np.asarray(initial_scores, dtype=np.float64)
        self.inputs = digest(
            [
                config.digest(),
                pool.digest(),
                hashlib.sha256(features.static.tobytes()).hexdigest(),
                None if scores is None else scores.tolist(),
            ]
        )
        self.warm_start_error: float | None = None
        if scores is not None:
            self.warm_start_error = warm_start(
                self.function,
                self.static,
                torch.from_numpy(scores),
                checked(environment.reset(), 0),
                config.warm_start_epochs,
                self.seeds["warm_start"],
            )
        self.actor_optimizer = torch.optim.AdamW(
            self.function.parameters(), lr=config.actor_learning_rate, weight_decay=config.weight_decay
        )
        self.critic_optimizer = torch.optim.AdamW(
            self.critic.parameters(), lr=config.critic_learning_rate, weight_decay=config.weight_decay
        )
        self.rounds: list[RoundReport] = []
        self.best_round = 0
        self.best_final = -math.inf
        self.best_weights = _copied(self.function.state_dict())

    def round(self) -> RoundReport:
        """Gather G runs, remember the policy if they are the best so far, and optimise it."""
        config, number = self.config, len(self.rounds)
        selecting = policy_sha256(self.function)
        episodes = []
        for rollout in range(config.rollouts):
            generator = None
            if config.exploration == "gumbel":
                generator = torch.Generator().manual_seed(seed_for(config.seed, "rollout", number, rollout))
            episodes.append(
                collect(self.environment, self.function, self.static, self.classes, config, generator)
            )
        final = statistics.fmean(episode.performances[-1] for episode in episodes)
        if final > self.best_final:
            self.best_final, self.best_round = final, number
            self.best_weights = _copied(self.function.state_dict())
        optimised = update(
            self.function,
            self.critic,
            self.actor_optimizer,
            self.critic_optimizer,
            episodes,
            self.static,
            self.classes,
            config,
            torch.Generator().manual_seed(seed_for(config.seed, "minibatches", number)),
        )
        report = RoundReport(
            number,
            selecting,
            tuple(episode.performances for episode in episodes),
            tuple(episode.distinct_rows for episode in episodes),
            optimised,
        )
        self.rounds.append(report)
        return report

    def deploy(self) -> RaiseResult:
        """The last run, without exploration, and the comparison with random."""
        deployed = self.config.rounds
        if self.config.keep_best:
            deployed = self.best_round
            self.function.load_state_dict(self.best_weights)
        episode = collect(self.environment, self.function, self.static, self.classes, self.config, None)
        identity = policy_sha256(self.function)
        baseline = self._baseline(episode.performances[-1]) if self.config.baseline_rollouts else None
        return RaiseResult(
            self.config,
            self._selections(episode, identity),
            episode,
            identity,
            deployed,
            tuple(self.rounds),
            baseline,
            self.seeds | {"raise": self.config.seed},
            self.warm_start_error,
            self.function,
        )

    def _baseline(self, raise_final: float) -> Baseline:
        config = self.config
        positions = {row_id: position for position, row_id in enumerate(self.pool.row_ids)}
        seeds = tuple(config.seed + i for i in range(config.baseline_rollouts))
        curves = []
        for seed in seeds:
            curve = [checked(self.environment.reset(), 0)]
            for chosen in static_strategies.random(self.pool, config.steps, config.batch_size, seed):
                rows = [positions[row_id] for row_id in chosen.row_ids]
                curve.append(checked(self.environment.step(rows), chosen.step + 1))
            curves.append(tuple(curve))
        return Baseline(seeds, tuple(curves), raise_final)

    def _selections(self, episode: Episode, identity: str) -> tuple[Selection, ...]:
        earlier: dict[int, int] = {}
        chosen = []
        for step, batch in enumerate(episode.batches):
            rows = batch.rows.tolist()
            reasons = []
            for row, rank, available in zip(
                rows, batch.ranks.tolist(), batch.available.tolist(), strict=True
            ):
                times = earlier.get(row, 0)
                again = f"; selected {times} time(s) before" if times else ""
                among = f"cluster {self.pool.clusters[row]}" if self.config.use_clusters else "the pool"
                reasons.append(
                    f"number {rank:,} of {available:,} available in {among} by RAISE's policy{again}"
                )
                earlier[row] = times + 1
            chosen.append(selection(self.pool, step, rows, batch.scores.tolist(), reasons, identity))
        return tuple(chosen)

    def state(self) -> dict[str, Any]:
        """Everything that the next round depends on, as tensors, numbers and texts."""
        return {
            "inputs": self.inputs,
            "function": _copied(self.function.state_dict()),
            "critic": _copied(self.critic.state_dict()),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "best_round": self.best_round,
            "best_final": self.best_final,
            "best_weights": _copied(self.best_weights),
            "rounds": [asdict(report) for report in self.rounds],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        if state["inputs"] != self.inputs:
            raise SultanaError(
                "The saved state of RAISE's policy training is of another pool, features or settings",
                "Start the policy training anew, or restore the inputs that the state was saved with",
            )
        self.function.load_state_dict(state["function"])
        self.critic.load_state_dict(state["critic"])
        self.actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.best_round, self.best_final = state["best_round"], state["best_final"]
        self.best_weights = _copied(state["best_weights"])
        self.rounds = [
            RoundReport(
                saved["round"],
                saved["policy_sha256"],
                tuple(tuple(curve) for curve in saved["performances"]),
                tuple(saved["distinct_rows"]),
                Update(**saved["update"]),
            )
            for saved in state["rounds"]
        ]


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
