"""What an audit says of retractions: which stood when a version was made, which stand now, what it holds of them."""

from typing import Any

from assets.instructions.erasures import erased_rows
from assets.instructions.retractions import Standing, read_decisions, standing
from assets.lineage.audit.lineage import Lineage
from assets.lineage.manifest import table_of
from assets.records import INSTRUCTIONS
from orchestration.retraction_models import held_by
from resources.tables import LanceTables


def audited(tables: LanceTables, lineage: Lineage) -> dict[str, Any]:
    """What an audit says of retractions, as JSON values.

    `when_made` are those that stood when the version's instructions were made, `now` those that stand now, `held` what
    of them it was trained on, `erased` how many of its instructions have no content any more.
    """
    chain = lineage.chain
    clusters = chain.follow(chain.follow(chain.checkpoint, "curriculum"), "diversity_clusters")
    instructions = chain.follow(clusters, "instructions")
    then = Standing()
    if "retractions" in instructions["upstream"]:
        decided = chain.follow(instructions, "retractions")
        if decided["tables"]:
            then = standing(read_decisions(tables, table_of(decided)))
    now = standing(read_decisions(tables))
    erased = erased_rows(tables, INSTRUCTIONS.table)
    return {
        "when_made": [one.to_json() for one in then.retractions],
        "now": [one.to_json() for one in now.retractions],
        "held": [one.to_json() for one in held_by(lineage.backward, now)],
        "erased": len(erased & set(lineage.trained_on.ids.to_pylist())) if erased else 0,
    }
