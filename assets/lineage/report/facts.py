"""What a report tells, gathered before a word of it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets.evaluation.paired import BenchmarkStanding


@dataclass(frozen=True)
class SampleAnswer:
    """A question of an evaluation and what was answered. Texts are data."""

    benchmark: str
    task: str
    prompt: str
    expected: str
    answer: str
    right: bool
    base_answer: str | None  # None where the base model was not asked alike


@dataclass(frozen=True)
class ReportFacts:
    """One registered version. Everything is from the lineage of its checkpoint and from what evaluated it."""

    about: Mapping[str, Any]
    """The content of export.json, as for a model card."""

    aliases: Sequence[str]
    trained_at: float  # seconds since 1970
    strategy_title: str  # what the strategy does, in words
    split: str | None  # that was scored; None where the version has not been evaluated
    ledger: pa.Table  # the rows of CURRICULUM that it was trained on
    tasks: Mapping[str, str]  # row id -> task; of a mixed row that of its heavier parent
    curves: Mapping[str, Sequence[tuple[int, float]]]  # metrics of the MLflow run, (step, value)
    pictures: Mapping[str, str]  # title -> PNG in base64, as the curriculum recorded them
    standings: Sequence[BenchmarkStanding]  # this version and the base model, question by question
    leaderboard: Mapping[str, Any] | None  # facts of the newest leaderboard that it stands in
    answers: Sequence[SampleAnswer]
    decision: (
        Mapping[str, Any] | None
    )  # the newest row of PROMOTIONS about it, rule and evidence as JSON values
    retracted: str | None = None  # that it was trained on rows which were retracted since, in words
