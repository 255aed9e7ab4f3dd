"""RAISE's policy training and the curriculum that it deploys (RAISE Algorithm 2, appendix D).

K rounds: gather G training runs with the present policy, then optimise it. The first run of a round, and the one
after the last update, are without exploration: the best of them is the curriculum. What a policy reaches while it
explores says too little of that: chosen by it, later policies were deployed that were worse than the first, also
on the reward split. The performance of the curriculum was optimised for: compare strategies on the test
split, never on the reward split.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assets.finetuning.checkpoints import CheckpointFolder
from assets.identity import digest
from assets.ledger import Selection
from assets.selection import static as static_strategies
from assets.selection.pool import Budget, Pool, selection
from assets.selection.raise_policy import saved_state
from assets.selection.raise_policy.acquisition import AcquisitionFunction, Critic, policy_sha256, warm_start
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import Features
from assets.selection.raise_policy.policy_file import SavedPolicy
from assets.selection.raise_policy.pool_scorer import ScorerOf, scorers
from assets.selection.raise_policy.ppo import update
from assets.selection.raise_policy.result import Baseline, RaiseResult, RoundReport
from assets.selection.raise_policy.rollout import Environment, Episode, checked, collect
from assets.selection.raise_policy.scoring import Classes, RowScorer, StaticFeatures, one_thread
from assets.selection.raise_policy.select import GumbelNoise
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError


def seed_for(seed: int, *purpose: str | int) -> int:
    """A seed of its own for each use of randomness, from 0 to 2^63 - 1."""
    return int(digest([seed, *purpose])[:16], 16) >> 1


def train_policy(
    environment: Environment,
    features: Features,
    pool: Pool,
    config: RaiseConfig,
    on_round: Callable[[RoundReport], None] | None = None,
    *,
    initial_scores: Sequence[float] | NDArray[Any] | None = None,
    initial_policy: SavedPolicy | None = None,
    work: Path | None = None,
    environment_digest: str = "",
    compute: Compute = THIS_MACHINE,
) -> RaiseResult:
    """Learn an acquisition function in the environment and deploy it.

    `features` are of the pool's rows in the pool's order. The function starts from weights drawn by the seed,
    from another pool's policy (`initial_policy`), or fitted to scores (N,) of another scorer (`initial_scores`;
    NaN: not known); a policy and scores together: the policy is what is fitted. `on_round` gets each round's
    report. With `work`, the state is saved there after every training run, and a training that was killed goes
    on from it to the same end; it is left there when the training is done. `environment_digest` names the
    environment (model, training, reward examples), so that a state of another one is refused. `compute` scores
    large pools.

    Costs `config.training_runs` training runs. Raises SultanaError where features and pool differ in rows, the
    pool can run dry, a performance is not finite, the policy given does not fit, or the state is of other inputs.
    """
    if len(features) != len(pool):
        raise SultanaError(
            f"There are features of {len(features):,} rows for a pool of {len(pool):,}",
            "Build the features from the pool's rows, in the pool's order",
            code="shapes-differ",
        )
    config.check_pool(len(pool))
    if initial_policy is not None:
        initial_policy.check(features, config)
    scores = None if initial_scores is None else np.asarray(initial_scores, dtype=np.float64)
    training = _PolicyTraining(environment, features, pool, config)
    identity = training.digest(scores, initial_policy, environment_digest)
    saved = None if work is None else CheckpointFolder(work / "raise")
    last = None if saved is None else saved.latest_verified(identity)

    def save() -> None:
        if saved is not None:
            saved.save(training.runs, training.state(), identity)
            saved.prune(1)

    if saved is not None and last is not None:
        training.load_state(saved.load(last))
    else:
        training.start(scores, initial_policy)
    with scorers(training.static, compute) as training.scorer:
        while len(training.rounds) < config.rounds:
            report = training.round(save)
            if on_round is not None:
                on_round(report)
        return training.deploy(save)


class _PolicyTraining:
    """What a policy training has come to: finished rounds, and the finished runs of the one under way."""

    def __init__(self, environment: Environment, features: Features, pool: Pool, config: RaiseConfig) -> None:
        self.environment, self.features, self.pool, self.config = environment, features, pool, config
        self.static = StaticFeatures(features.static)
        self.scorer: ScorerOf = lambda function: RowScorer(function, self.static)
        self.classes = Classes.of(pool.clusters if config.use_clusters else np.zeros_like(pool.clusters))
        self.seeds = {name: seed_for(config.seed, name) for name in ("actor", "critic", "warm_start")}
        self.function = AcquisitionFunction(self.static.columns, config.hidden, self.seeds["actor"])
        self.critic = Critic(config.critic_hidden, self.seeds["critic"])
        self.actor_optimizer = torch.optim.AdamW(
            self.function.parameters(), lr=config.actor_learning_rate, weight_decay=config.weight_decay
        )
        self.critic_optimizer = torch.optim.AdamW(
            self.critic.parameters(), lr=config.critic_learning_rate, weight_decay=config.weight_decay
        )
        self.warm_start_error: float | None = None
        self.rounds: list[RoundReport] = []
        self.best_round = 0
        self.best_final = -math.inf
        self.best_weights = _copied(self.function.state_dict())
        self.best: Episode | None = None  # of the best policy, without exploration
        self.runs = 0  # training runs done
        self.updates = 0  # optimizer steps of either network
        self.gathered: list[Episode] = []  # of the round under way
        self.last: Episode | None = None  # of the policy after the last update
        self.curves: list[tuple[float, ...]] = []  # of the random runs

    def start(self, scores: NDArray[np.float64] | None, policy: SavedPolicy | None) -> None:
        """The first weights, where they are not those drawn."""
        if policy is not None:
            self.function.load_state_dict(policy.function.state_dict())
        if scores is not None:
            self.warm_start_error = warm_start(
                self.function,
                self.static,
                torch.from_numpy(scores),
                checked(self.environment.reset(), 0),
                self.config.warm_start_epochs,
                self.seeds["warm_start"],
            )
        self.best_weights = _copied(self.function.state_dict())

    def round(self, save: Callable[[], None]) -> RoundReport:
        """Gather G runs, remember the policy if its own is the best so far, and optimise it."""
        config, number = self.config, len(self.rounds)
        selecting = policy_sha256(self.function)
        while len(self.gathered) < config.rollouts:
            noise = None
            if config.exploration == "gumbel" and (self.gathered or not config.keep_best):
                noise = GumbelNoise(seed_for(config.seed, "rollout", number, len(self.gathered)))
            self.gathered.append(self._run(noise))
            save()
        episodes, self.gathered = self.gathered, []
        if config.keep_best:
            self._remember(number, episodes[0])
        with one_thread():
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
        self.updates += optimised.updates
        report = RoundReport(
            number,
            selecting,
            tuple(episode.performances for episode in episodes),
            tuple(episode.distinct_rows for episode in episodes),
            optimised,
        )
        self.rounds.append(report)
        return report

    def deploy(self, save: Callable[[], None]) -> RaiseResult:
        """The last policy's run, the best policy's curriculum, and the comparison with random."""
        if self.last is None:
            self.last = self._run(None)
            save()
        number, episode = self.config.rounds, self.last
        if self.config.keep_best:
            self._remember(number, episode)
            number, episode = self.best_round, self.best or episode
            self.function.load_state_dict(self.best_weights)
        identity = policy_sha256(self.function)
        return RaiseResult(
            self.config,
            self._selections(episode, identity),
            episode,
            identity,
            number,
            tuple(self.rounds),
            self._baseline(episode.performances[-1], save),
            self.seeds | {"raise": self.config.seed},
            self.warm_start_error,
            self.function,
            self.features,
        )

    def _remember(self, number: int, episode: Episode) -> None:
        """Keep the present policy and its run without exploration, if that is better than the best so far."""
        if episode.performances[-1] > self.best_final:
            self.best_final, self.best_round, self.best = episode.performances[-1], number, episode
            self.best_weights = _copied(self.function.state_dict())

    def _run(self, noise: GumbelNoise | None) -> Episode:
        self.runs += 1
        scorer = self.scorer(self.function)
        return collect(self.environment, self.function, self.static, self.classes, self.config, noise, scorer)

    def _baseline(self, raise_final: float, save: Callable[[], None]) -> Baseline | None:
        config = self.config
        if not config.baseline_rollouts:
            return None
        positions = {row_id: position for position, row_id in enumerate(self.pool.row_ids)}
        seeds = tuple(config.seed + i for i in range(config.baseline_rollouts))
        passes = min(config.maximum_repeats or 1, config.steps)
        budget = Budget(config.steps, config.batch_size, passes)
        for seed in seeds[len(self.curves) :]:
            curve = [checked(self.environment.reset(), 0)]
            for chosen in static_strategies.random(self.pool, budget, seed):
                rows = [positions[row_id] for row_id in chosen.row_ids]
                curve.append(checked(self.environment.step(rows), chosen.step + 1))
            self.curves.append(tuple(curve))
            self.runs += 1
            save()
        return Baseline(seeds, tuple(self.curves), raise_final)

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

    def digest(
        self, scores: NDArray[np.float64] | None, policy: SavedPolicy | None, environment_digest: str
    ) -> str:
        """SHA-256 of everything that the training depends on."""
        return digest(
            [
                self.config.digest(),
                self.pool.digest(),
                hashlib.sha256(np.ascontiguousarray(self.features.static).data).hexdigest(),
                None if scores is None else hashlib.sha256(scores.tobytes()).hexdigest(),
                None if policy is None else policy_sha256(policy.function),
                environment_digest,
            ]
        )

    def state(self) -> dict[str, Any]:
        """Everything that the next training run depends on (`CheckpointFolder.save`)."""
        episodes = {f"gathered/{place}": episode for place, episode in enumerate(self.gathered)}
        for name, episode in (("last_run", self.last), ("best_run", self.best)):
            if episode is not None:
                episodes[name] = episode
        tensors = {
            **saved_state.network_tensors("actor", self.function, self.actor_optimizer),
            **saved_state.network_tensors("critic", self.critic, self.critic_optimizer),
            **{f"best/{name}": weight for name, weight in _copied(self.best_weights).items()},
        }
        for name, episode in episodes.items():
            tensors |= saved_state.episode_tensors(name, episode)
        return {
            "tensors": tensors,
            "numbers": {
                "runs": self.runs,
                "updates": self.updates,
                "warm_start_error": self.warm_start_error,
                "best_round": self.best_round,
                "best_final": None if math.isinf(self.best_final) else self.best_final,
                "rounds": [saved_state.report_numbers(report) for report in self.rounds],
                "performances": {name: episode.performances for name, episode in episodes.items()},
                "curves": self.curves,
            },
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        tensors, numbers = state["tensors"], state["numbers"]
        self.runs, self.updates = numbers["runs"], numbers["updates"]
        saved_state.restore_network("actor", self.function, self.actor_optimizer, tensors, self.updates)
        saved_state.restore_network("critic", self.critic, self.critic_optimizer, tensors, self.updates)
        self.best_weights = saved_state.part_of(tensors, "best")
        self.warm_start_error, self.best_round = numbers["warm_start_error"], numbers["best_round"]
        self.best_final = -math.inf if numbers["best_final"] is None else numbers["best_final"]
        self.rounds = [saved_state.restored_report(report) for report in numbers["rounds"]]
        self.curves = [tuple(curve) for curve in numbers["curves"]]
        episodes = {
            name: saved_state.restored_episode(name, tensors, performances)
            for name, performances in numbers["performances"].items()
        }
        self.last, self.best = episodes.pop("last_run", None), episodes.pop("best_run", None)
        self.gathered = [episodes[f"gathered/{place}"] for place in range(len(episodes))]


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
