"""What a promotion rests on: evaluations of the candidate and of what it has to beat, and their comparison."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from assets.lineage.promotion import Comparison, PromotionRule, compare
from assets.materialization import environment
from assets.materialized import Materialized
from assets.records import EVALUATIONS
from orchestration.evaluated import BASE, alike_evaluation, evaluation_of
from orchestration.registered import Registered, find_registered
from resources.errors import SultanaError
from resources.tables import LanceTables
from resources.tracking import Tracking


@dataclass(frozen=True)
class Scores:
    """One evaluation, as evidence: whose, with which settings, and its rows of EVALUATIONS."""

    title: str
    materialization: Mapping[str, Any]
    configuration: Mapping[str, Any]
    rows: list[dict[str, Any]]


def gather_evidence(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    tracking: Tracking,
    candidate: Registered,
    present: int | None,
    rule: PromotionRule,
    force: bool,
) -> tuple[list[Comparison], dict[str, Any], str | None]:
    """What the rule found, the evidence, and, where a forced promotion has nothing to compare, why.

    `present` is the version of the champion, or None: then the base model is what has to be beaten. Raises
    SultanaError where there is nothing to compare and the promotion is not forced.
    """
    champion = find_registered(tracking, f"{candidate.name}/{present}") if present else None
    against = champion.title if champion else BASE
    ours, theirs, comparisons, problem = None, None, [], None
    try:
        evaluated = evaluation_of(instance, candidate)
        ours = _scores(tables, candidate.title, evaluated)
        theirs = _scores(tables, against, alike_evaluation(instance, champion, candidate, evaluated))
        comparisons = compare(ours.rows, theirs.rows, rule)
    except SultanaError as error:
        if not force:
            raise
        problem = error.problem
    evidence = {
        "candidate": asdict(ours) if ours else {"title": candidate.title},
        "against": asdict(theirs) if theirs else {"title": against},
        "comparisons": [asdict(one) for one in comparisons],
        "not_compared": problem,
        "candidate_files_sha256": candidate.tags.get("sultana.manifest_sha256"),
        "code": {name: environment()[name] for name in ("git_commit", "git_dirty")},
    }
    return comparisons, evidence, problem


def _scores(tables: LanceTables, title: str, made: Materialized) -> Scores:
    """The rows of EVALUATIONS that a materialization made, from the very version that it wrote."""
    identities = {row["evaluation_id"] for row in made.record["facts"]["rows"]}
    rows = tables.read(made.table(EVALUATIONS.table)).to_pylist()
    return Scores(
        title,
        made.pointer(),
        dict(made.record["configuration"]),
        [row for row in rows if row["evaluation_id"] in identities],
    )
