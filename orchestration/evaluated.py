"""Evaluations of registered versions: the newest, and those that can stand beside it."""

import dagster as dg

from assets.evaluation.alike import are_alike
from assets.materialized import Materialized, every_materialization, follow
from orchestration.registered import PARTITION_TAG, Registered, made_for
from resources.errors import SultanaError

BASE = "the base model"


def evaluation_of(instance: dg.DagsterInstance, model: Registered) -> Materialized:
    """The newest evaluation of a version. Raises SultanaError where there is none."""
    found = made_for(instance, "evaluation", model)
    if not found:
        raise SultanaError(
            f"{model.title} has not been evaluated",
            "Materialize the asset 'evaluation' of its partition "
            f"({model.tags[PARTITION_TAG]}), or run: sultana run --to evaluation",
            code="not-evaluated",
        )
    return found[0]


def alike_evaluation(
    instance: dg.DagsterInstance, other: Registered | None, model: Registered, evaluated: Materialized
) -> Materialized:
    """The newest evaluation of another version, or of the base model (None), on the same data and as that of `model`.

    Raises SultanaError where there is none.
    """
    found = (
        made_for(instance, "evaluation", other)
        if other
        else list(every_materialization(instance, "baseline_evaluation"))
    )
    for made in found:
        if are_alike(made.record, evaluated.record):
            return made
    raise SultanaError(
        f"There is no evaluation of {other.title if other else BASE} on the same data and with the same "
        f"settings as that of {model.title}",
        "Evaluate both alike (configuration of the asset 'evaluation', or 'baseline_evaluation' for the base "
        "model); a promotion can waive the rule with --force and a reason",
        code="evaluations-not-comparable",
    )


def leaderboard_with(instance: dg.DagsterInstance, evaluated: Materialized) -> Materialized | None:
    """The newest leaderboard that an evaluation stands in; None where there is none yet."""
    for made in every_materialization(instance, "leaderboard"):
        pointer = made.record["upstream"].get(f"evaluation {evaluated.partition}")
        if pointer is None or pointer["data_version"] != evaluated.data_version:
            continue
        if are_alike(follow(instance, made, "baseline_evaluation").record, evaluated.record):
            return made
    return None
