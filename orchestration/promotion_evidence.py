"""What a promotion rests on: evaluations of the candidate and of what it has to beat, and their comparison."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from assets.evaluation.alike import are_alike
from assets.lineage.promotion import Comparison, PromotionRule, compare
from assets.materialization import environment
from assets.materialized import Materialized, every_materialization
from assets.records import EVALUATIONS
from orchestration.registered import Registered, find_registered, made_for
from resources.errors import SultanaError
from resources.tables import LanceTables
from resources.tracking import Tracking

BASE = "the base model"


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
        evaluated = _evaluation_of(instance, candidate)
        ours = _scores(tables, candidate.title, evaluated)
        theirs = _scores(tables, against, _alike(instance, champion, candidate, evaluated))
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


def _evaluation_of(instance: dg.DagsterInstance, model: Registered) -> Materialized:
    found = made_for(instance, "evaluation", model)
    if not found:
        raise SultanaError(
            f"{model.title} has not been evaluated",
            "Materialize the asset 'evaluation' of its partition "
            f"({model.tags['dagster.partition']}), or run: sultana run --to evaluation",
        )
    return found[0]


def _alike(
    instance: dg.DagsterInstance, champion: Registered | None, candidate: Registered, evaluated: Materialized
) -> Materialized:
    """The newest evaluation of the champion, or of the base model, on the same data with the same settings."""
    found = (
        made_for(instance, "evaluation", champion)
        if champion
        else list(every_materialization(instance, "baseline_evaluation"))
    )
    for made in found:
        if are_alike(made.record, evaluated.record):
            return made
    raise SultanaError(
        f"There is no evaluation of {champion.title if champion else BASE} on the same data and with the same "
        f"settings as that of {candidate.title}",
        "Evaluate both alike (configuration of the asset 'evaluation', or 'baseline_evaluation' for the base "
        "model), or waive the rule with --force and a reason",
    )


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
