"""Whether a stored ledger is what it should be: complete, from the pool, diverse; and whether RAISE beat chance."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assets.ledger import Curriculum
from assets.outcome import Outcome


@dataclass(frozen=True)
class Soundness:
    """What a stored ledger is found to be."""

    steps: int
    expected_steps: int
    batch_size: int
    expected_batch_size: int
    distinct_rows: int
    most_repeats: int
    repeat_cap: int | None  # None: no limit
    rows_outside_the_pool: int
    batches_with_a_row_twice: int

    @property
    def holds(self) -> bool:
        """Whether the ledger is complete, from the pool, without a row twice in a batch, within the cap."""
        return (
            self.steps == self.expected_steps
            and self.batch_size == self.expected_batch_size
            and not self.rows_outside_the_pool
            and not self.batches_with_a_row_twice
            and (self.repeat_cap is None or self.most_repeats <= self.repeat_cap)
        )

    @property
    def outcome(self) -> Outcome:
        """The numbers as what a check finds."""
        cap = "no limit" if self.repeat_cap is None else f"{self.repeat_cap:,}"
        return Outcome(
            self.holds,
            {name: "no limit" if value is None else value for name, value in asdict(self).items()},
            f"{self.steps:,} steps of {self.expected_steps:,}, batches of {self.batch_size:,} (expected "
            f"{self.expected_batch_size:,}), a row at most {self.most_repeats:,} times (allowed {cap}), "
            f"{self.rows_outside_the_pool:,} rows outside the pool, {self.batches_with_a_row_twice:,} batches with a "
            "row twice (allowed 0)",
            "Materialize the curriculum again: its ledger is incomplete or was edited",
        )


def soundness(
    curriculum: Curriculum, pool: Collection[str], *, steps: int, batch_size: int, cap: int | None
) -> Soundness:
    """Holds a ledger against the steps, batch size, pool (row ids) and cap on repeats it should have."""
    times = Counter(row_id for step in curriculum.steps for row_id in step.row_ids)
    return Soundness(
        steps=len(curriculum.steps),
        expected_steps=steps,
        batch_size=curriculum.batch_size,
        expected_batch_size=batch_size,
        distinct_rows=len(times),
        most_repeats=max(times.values()),
        repeat_cap=cap,
        rows_outside_the_pool=len(times.keys() - set(pool)),
        batches_with_a_row_twice=sum(len(set(step.row_ids)) < len(step) for step in curriculum.steps),
    )


@dataclass(frozen=True)
class DiversityBounds:
    """Smallest shares, 0 to 1: distinct rows of the most that there could be, and clusters likewise."""

    distinct_rows: float
    clusters: float


def diversity(
    rows: Collection[str],
    chosen: Collection[int],
    available: Collection[int],
    candidates: int,
    bounds: DiversityBounds,
) -> Outcome:
    """Whether a ledger has enough distinct rows and covers enough clusters.

    `rows` are its row ids and `chosen` their clusters, one an entry; `available` are the clusters of the table that
    it was chosen from, and `candidates` the number of rows. There can be no more distinct rows than entries
    or candidates, and no more clusters than distinct rows.
    """
    distinct, covered = len(set(rows)), len(set(chosen))
    most_rows = min(len(rows), candidates)
    most_clusters = min(most_rows, len(set(available)))
    row_share, cluster_share = distinct / most_rows, covered / most_clusters
    return Outcome(
        row_share >= bounds.distinct_rows and cluster_share >= bounds.clusters,
        {
            "distinct_rows": distinct,
            "distinct_share": row_share,
            "distinct_share_at_least": bounds.distinct_rows,
            "clusters_covered": covered,
            "cluster_share": cluster_share,
            "cluster_share_at_least": bounds.clusters,
        },
        f"{distinct:,} distinct rows of at most {most_rows:,} possible ({row_share:.1%}; at least "
        f"{bounds.distinct_rows:.1%}), from {covered:,} clusters of {most_clusters:,} ({cluster_share:.1%}; at least "
        f"{bounds.clusters:.1%})",
        "Look at the plots of the curriculum. Lower passes, which caps repeats, or choose the preset guarded; if the "
        "strategy is meant to narrow down, lower the bounds of curriculum_checks",
    )


def no_worse_than_random(facts: Mapping[str, Any], tolerance: float) -> Outcome:
    """Whether RAISE's deployed run ended with a loss on the reward split no higher than random runs did.

    `facts` are those of the curriculum; performances are losses with the sign turned, in nats a token. Passes where
    nothing was compared, and says so.
    """
    ours, random = facts.get("final_performance"), facts.get("random_performance")
    if ours is None or random is None:
        why = (
            "no random run was made beside it (policy.baseline_rollouts is 0)"
            if facts.get("method") == "raise"
            else "this strategy trains no policy"
        )
        return Outcome(
            True, {"compared": False, "tolerance": tolerance}, f"Not compared with random: {why}", ""
        )
    worse = random - ours
    return Outcome(
        worse <= tolerance,
        {
            "compared": True,
            "reward_loss": -ours,
            "reward_loss_of_random": -random,
            "worse_by": worse,
            "tolerance": tolerance,
        },
        f"On the reward split the policy ends at a loss of {-ours:.4f}, random runs at {-random:.4f}: "
        f"{'worse' if worse > 0 else 'better'} by {abs(worse):.4f} nats a token ({tolerance:g} worse is allowed)",
        "Do not prefer this curriculum to random's. Raise policy.rounds or policy.rollouts, take more reward_examples, "
        "or see with more policy.baseline_rollouts whether it was chance",
    )
