"""What RAISE's policy training gives back: curriculum, reward curves and the comparison with random."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from assets.ledger import Selection
from assets.selection.raise_policy.acquisition import AcquisitionFunction
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.features import Features
from assets.selection.raise_policy.ppo import Update
from assets.selection.raise_policy.reward_subset import SamplingError
from assets.selection.raise_policy.rollout import Episode


@dataclass(frozen=True)
class RoundReport:
    """One round: the policy that gathered it, its reward curves and the optimisation that followed."""

    round: int  # from 0
    policy_sha256: str  # of the policy that selected, before the optimisation
    performances: tuple[tuple[float, ...], ...]  # G curves of P_0 ... P_T
    distinct_rows: tuple[int, ...]  # rows selected at least once, per run
    update: Update


@dataclass(frozen=True)
class Baseline:
    """RAISE's deployed run against random curricula in the same environment, on the reward split."""

    seeds: tuple[int, ...]  # of strategy `random`
    performances: tuple[tuple[float, ...], ...]  # curves of P_0 ... P_T
    raise_final: float

    @property
    def random_final(self) -> float:
        """Mean P_T of the random runs."""
        return statistics.fmean(curve[-1] for curve in self.performances)

    @property
    def difference(self) -> float:
        """P_T of RAISE minus the mean of random."""
        return self.raise_final - self.random_final

    @property
    def deviation(self) -> float | None:
        """Standard deviation of P_T among random runs; None with one run."""
        finals = [curve[-1] for curve in self.performances]
        return statistics.stdev(finals) if len(finals) > 1 else None

    @property
    def no_worse_than_random(self) -> bool:
        """Whether `difference` is 0 or more; with few runs this can be chance."""
        return self.difference >= 0

    @property
    def finding(self) -> str:
        """The comparison in a sentence."""
        runs = len(self.performances)
        spread = "" if self.deviation is None else f", standard deviation {self.deviation:.4f}"
        verdict = "no worse than" if self.no_worse_than_random else "WORSE than"
        return (
            f"RAISE is {verdict} random on the reward split: {self.raise_final:.4f} against "
            f"{self.random_final:.4f} (difference {self.difference:+.4f}; {runs} random run(s){spread}). "
            "RAISE was optimised for this split; only the test split decides"
        )


@dataclass(frozen=True, eq=False)
class RaiseResult:
    """The curriculum and everything needed to explain it."""

    config: RaiseConfig
    selections: tuple[Selection, ...]  # for the ledger
    episode: Episode  # the deployed run, whose performances belong to `selections`
    policy_sha256: str
    best_round: int  # whose policy was deployed; config.rounds where it is the last update's
    rounds: tuple[RoundReport, ...]
    baseline: Baseline | None
    seeds: Mapping[str, int]
    warm_start_error: float | None  # mean squared error of the fit to the scores given
    function: AcquisitionFunction = field(repr=False)
    features: Features = field(repr=False)
    reward_error: SamplingError | None = (
        None  # of P_0 against the whole reward split's; None: all of it measured
    )

    @property
    def initial_performance(self) -> float:
        """P_0 of the deployed run."""
        return self.episode.performances[0]

    @property
    def final_performance(self) -> float:
        """P_T of the deployed run."""
        return self.episode.performances[-1]
