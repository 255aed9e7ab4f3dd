"""Checkpoints compared question by question: differences of scores with paired bootstrap intervals.

A question that two models answered is one pair; the bootstrap draws questions, so the interval says how far
the difference depends on which questions were asked. Where a strategy has several seeds, a question's score is
its mean over them: the interval leaves out how far the difference depends on the seeds of training, for which
the leaderboard has Student's interval over seeds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.evaluation.leaderboard import BASE, CONFIDENCE

LOWER_IS_BETTER = frozenset({"loss"})
RESAMPLES_AT_ONCE = 64
"""Resamples in memory: 14,042 questions of MMLU make 7 MB of places."""

Marks = Mapping[tuple[str, str], Mapping[str, float]]
"""(benchmark, metric) -> question id -> score."""


@dataclass(frozen=True)
class Difference:
    """Mean of ours - theirs over `questions` pairs, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True)
class BenchmarkStanding:
    """One strategy on one benchmark. `standard_error` is over questions; differences are None against itself."""

    benchmark: str
    metric: str
    strategy: str
    seeds: int
    questions: int
    value: float
    standard_error: float | None
    against_base: Difference | None
    against_reference: Difference | None

    def row(self, reference: str) -> dict[str, Any]:
        """A row of the table that is shown."""
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "strategy": self.strategy,
            "seeds": self.seeds,
            "questions": self.questions,
            "value": self.value,
            "standard error": self.standard_error,
            "− base [95 %]": _in_words(self.against_base),
            f"− {reference} [95 %]": _in_words(self.against_reference),
        }


def paired_bootstrap(
    ours: Mapping[str, float], theirs: Mapping[str, float], *, samples: int, seed: int
) -> Difference | None:
    """The difference over the questions that both have; None where they share fewer than two.

    Percentile interval of `samples` resamples. Deterministic for a seed, whatever the order of questions.
    """
    from scipy.stats import bootstrap

    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2:
        return None
    differences = np.array([ours[key] - theirs[key] for key in shared])
    mean = float(differences.mean())
    if (differences == differences[0]).all():
        return Difference(mean, mean, mean, len(shared))
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=samples,
        batch=RESAMPLES_AT_ONCE,
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Difference(mean, float(found.low), float(found.high), len(shared))


def benchmark_standings(
    marks: Mapping[tuple[str, int], Marks], reference: str, *, samples: int, seed: int
) -> list[BenchmarkStanding]:
    """Each strategy on each (benchmark, metric), best first; `marks` are by (strategy, seed).

    Against the reference the seeds that both have are compared; where they have none in common, nothing is.
    """
    strategies: dict[str, dict[int, Marks]] = defaultdict(dict)
    for (strategy, run), found in marks.items():
        strategies[strategy][run] = found
    board = []
    for name in sorted({name for found in marks.values() for name in found}):
        with_it = {
            strategy: {run: found[name] for run, found in runs.items() if name in found}
            for strategy, runs in strategies.items()
        }
        with_it = {strategy: runs for strategy, runs in with_it.items() if runs}
        standings = []
        for strategy, runs in with_it.items():
            ours = _over_seeds(runs, runs.keys())
            common = runs.keys() & with_it.get(reference, {}).keys()
            values = np.array(list(ours.values()))
            standings.append(
                BenchmarkStanding(
                    *name,
                    strategy,
                    len(runs),
                    len(ours),
                    float(values.mean()),
                    float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None,
                    paired_bootstrap(
                        ours, _over_seeds(with_it[BASE], with_it[BASE]), samples=samples, seed=seed
                    )
                    if strategy != BASE and BASE in with_it
                    else None,
                    paired_bootstrap(
                        _over_seeds(runs, common),
                        _over_seeds(with_it[reference], common),
                        samples=samples,
                        seed=seed,
                    )
                    if strategy not in (reference, BASE) and common
                    else None,
                )
            )
        sign = 1 if name[1] in LOWER_IS_BETTER else -1
        board += sorted(standings, key=lambda one: (sign * one.value, one.strategy))
    return board


def _over_seeds(runs: Mapping[int, Mapping[str, float]], chosen: Any) -> dict[str, float]:
    """Each question's mean over the chosen seeds, of the questions that all of them have."""
    found = [runs[run] for run in sorted(chosen)]
    shared = set.intersection(*(set(one) for one in found))
    return {key: float(np.mean([one[key] for one in found])) for key in sorted(shared)}


def _in_words(difference: Difference | None) -> str | None:
    if difference is None:
        return None
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def marks_of(answers: Sequence[Mapping[str, Any]], metrics: Mapping[str, Sequence[str]]) -> Marks:
    """Scores by question from rows of EVALUATION_ANSWERS; `metrics` names those of each benchmark to keep."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for answer in answers:
        for score in answer["scores"]:
            if score["name"] in metrics.get(answer["benchmark"], ()):
                found[answer["benchmark"], score["name"]][answer["question_id"]] = score["value"]
    return dict(found)
