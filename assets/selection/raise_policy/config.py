"""Settings of RAISE's policy training, with two presets.

`RaiseConfig.guarded()` is the default. Twenty training runs give a policy-gradient method very little
signal, and the published settings (`RaiseConfig.paper()`: joint ratio, actor learning rate 0.1, no
exploration, unlimited repeats) let the policy collapse on few rows; each guard answers one of these.
Neither preset contradicts RAISE's equations: the paper leaves these choices open or states them
without the network they were used with.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from assets.identity import digest
from resources.errors import SultanaError

VERSION = "5"
"""Raised whenever a change makes the same settings and seed give another curriculum."""


@dataclass(frozen=True, kw_only=True)
class RaiseConfig:
    """Every setting is checked on construction; a wrong one raises SultanaError naming it."""

    steps: int  # T: optimizer steps of one training run
    batch_size: int  # B: rows of one step
    seed: int = 0

    rounds: int = 8  # K: times the policy is updated; 0: the policy to start from is deployed as it is
    rollouts: int = 2  # G: training runs gathered before each update; see keep_best
    baseline_rollouts: int = 2  # random curricula run in the same environment to compare with; 0: none
    maximum_repeats: int | None = 1  # times one run may select a row; None: no limit
    spread_repeats: bool = True  # allow them one by one over the run; see cap_at
    select_every: int = 1  # M: steps whose batches are chosen at once (appendix F); see rollout.collect
    use_clusters: bool = True  # False: one class, no diversity constraint

    exploration: Literal["gumbel", "topk"] = "gumbel"  # while gathering; deployment is always topk
    ratio: Literal["geometric", "joint"] = "geometric"  # eq. 11 is joint; see ppo.log_ratio
    advantages: Literal["per_step", "normalised", "raw"] = "per_step"  # see ppo.scaled_advantages
    keep_best: bool = True  # deploy the best run without exploration, a round's first, not the last

    actor_learning_rate: float = 1e-3
    critic_learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gamma: float = 0.99  # discount per step
    gae_lambda: float = 0.5  # the paper's 1 credits a row with all later gains, at the cost of variance
    clip: float = 0.2  # epsilon of eq. 12
    epochs: int = 4  # K2: passes over a round's steps
    minibatch: int = 8  # steps (states) of one update of the networks
    gradient_clip: float | None = 1.0  # largest norm; None: not clipped
    hidden: int = 64  # units of the acquisition function's hidden layer
    critic_hidden: int = 32

    standardise: bool = True  # features with mean 0 and standard deviation 1 over the pool
    per_token: bool = True  # log-probabilities per token instead of per sequence
    semantic_pooling: Literal["adaptive", "pca"] = "adaptive"
    semantic_dimensions: int = 32

    warm_start_epochs: int = 200  # only where scores to start from are given

    @classmethod
    def guarded(cls, *, steps: int, batch_size: int, **changes: Any) -> "RaiseConfig":
        """The default preset: exploration, cap on repeats, geometric ratio, standardised features."""
        return cls(steps=steps, batch_size=batch_size, **changes)

    @classmethod
    def paper(cls, *, steps: int, batch_size: int, **changes: Any) -> "RaiseConfig":
        """The published settings (RAISE appendix A.2); for comparison, not for use.

        20 rounds of one deterministic top-b run each, joint ratio, learning rates 0.1 and 0.2, raw
        features, no limit on repeats, last policy deployed.
        """
        published: dict[str, Any] = {
            "rounds": 20,
            "rollouts": 1,
            "baseline_rollouts": 0,
            "maximum_repeats": None,
            "spread_repeats": False,
            "exploration": "topk",
            "ratio": "joint",
            "advantages": "raw",
            "keep_best": False,
            "gae_lambda": 1.0,
            "actor_learning_rate": 1e-1,
            "critic_learning_rate": 2e-1,
            "gradient_clip": None,
            "standardise": False,
            "per_token": False,
        }
        return cls(steps=steps, batch_size=batch_size, **(published | changes))

    @property
    def training_runs(self) -> int:
        """Training runs that one call of `train_policy` costs: K x G, the baseline's and the last policy's."""
        return self.rounds * self.rollouts + self.baseline_rollouts + 1

    def digest(self) -> str:
        """SHA-256 of the settings and of the version of this code."""
        return digest([VERSION, asdict(self)])

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "steps": (1, 1_000_000),
            "batch_size": (1, 65_536),
            "seed": (0, 2**63 - 1),
            "rounds": (0, 10_000),
            "select_every": (1, 1_000_000),
            "rollouts": (1, 1_000),
            "baseline_rollouts": (0, 1_000),
            "epochs": (1, 1_000),
            "minibatch": (1, 65_536),
            "hidden": (1, 4_096),
            "critic_hidden": (1, 4_096),
            "semantic_dimensions": (1, 4_096),
            "warm_start_epochs": (1, 100_000),
        }
        if self.maximum_repeats is not None:
            limits["maximum_repeats"] = (1, 10_000)
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise _wrong(name, value, f"a whole number from {low:,} to {high:,}")
        ranges: dict[str, tuple[float, float]] = {
            "actor_learning_rate": (1e-8, 1.0),
            "critic_learning_rate": (1e-8, 1.0),
            "weight_decay": (0.0, 1.0),
            "gamma": (0.0, 1.0),
            "gae_lambda": (0.0, 1.0),
            "clip": (1e-3, 1.0),
        }
        if self.gradient_clip is not None:
            ranges["gradient_clip"] = (1e-6, 1e6)
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise _wrong(name, value, "a finite number")
            if not low <= value <= high:
                raise _wrong(name, value, f"a number from {low:g} to {high:g}")
        choices = {
            "exploration": ("gumbel", "topk"),
            "ratio": ("geometric", "joint"),
            "advantages": ("per_step", "normalised", "raw"),
            "semantic_pooling": ("adaptive", "pca"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(known)}")

    def cap_at(self, step: int) -> int | None:
        """Times that a row may have been selected once `step` (from 0) is over; None: no limit.

        Spread, a cap of c allows the c-th selection from the last of c equal parts of the run on, as passes over
        a subset do: a score changes little from step to step, and what ranks first would be trained on c
        times in a row.
        """
        if self.maximum_repeats is None or not self.spread_repeats:
            return self.maximum_repeats
        return 1 + step * self.maximum_repeats // self.steps

    def check_pool(self, rows: int) -> None:
        """Raise SultanaError where a pool of `rows` rows can run dry before the last step.

        With a cap c on repeats, fewer than n rows can be left only after c (N - n + 1) selections.
        """
        cap, largest = self.maximum_repeats, self.batch_size * min(self.select_every, self.steps)
        if largest > rows:
            raise SultanaError(
                f"RAISE is to select {largest:,} rows at once from a pool of {rows:,}",
                "Lower batch_size or select_every, or enlarge the pool",
                code="pool-too-small",
            )
        if cap is None:
            return
        if self._can_run_dry(rows):
            needed = next(
                (
                    c
                    for c in range(cap + 1, self.steps + 2)
                    if not replace(self, maximum_repeats=c)._can_run_dry(rows)
                ),
                self.steps,
            )
            raise SultanaError(
                f"RAISE is to fill {self.steps:,} steps of {self.batch_size:,} rows from a pool of {rows:,}, "
                f"each row at most {cap} time(s): the pool can run out",
                f"Set maximum_repeats to at least {needed}, lower steps or batch_size, or enlarge the pool",
                code="pool-too-small",
            )

    def _can_run_dry(self, rows: int) -> bool:
        for step in range(0, self.steps, self.select_every):
            size = self.batch_size * min(self.select_every, self.steps - step)
            if self.batch_size * step >= (self.cap_at(step) or 0) * (rows - size + 1):
                return True
        return False


def _wrong(name: str, value: Any, expected: str) -> SultanaError:
    return SultanaError(
        f"RAISE setting {name} is {value!r}; expected {expected}",
        f"Correct {name}",
        code="setting-out-of-bounds",
    )
