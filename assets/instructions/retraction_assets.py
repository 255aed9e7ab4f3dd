"""The door to retractions: what stands, as an asset, so that Dagster knows what becomes stale by it."""

import dagster as dg

from assets.instructions.retractions import read_decisions, standing
from assets.materialization import OWNER, begin
from assets.presentation import markdown, table
from assets.records import RETRACTIONS
from assets.retries import tried_again
from resources.definitions import Storage

CODE_VERSION = "1"


@dg.asset(
    group_name="2_instructions",
    owners=[OWNER],
    kinds={"lancedb"},
    code_version=CODE_VERSION,
    pool="retractions",
)
@tried_again
def retractions(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult:
    """Which rows may not be trained on any more. `sultana retract` decides, and materializes this.

    Rules on rows, sources, licences and files; they also hold for rows that come later. Every decision stays
    in the table, with who made it, when and why.
    """
    ref = storage.tables().head(RETRACTIONS.table)
    found = standing(read_decisions(storage.tables(), ref))
    stage = begin(
        context,
        storage,
        dg.Config(),
        asset="retractions",
        code_version=CODE_VERSION,
        settings={"decisions": ref.digest if ref else None},
    )
    if again := stage.previous(["retractions"]):
        return again[0]
    rows = [
        {
            "retraction": one.retraction_id,
            "what": one.title,
            "reason": one.reason,
            "erased": one.erase,
            "by": one.decided_by,
            "at": one.decided_at,
        }
        for one in found.retractions
    ]
    return stage.result(
        [ref] if ref else [],
        {
            "standing": len(found.retractions),
            "retractions": table(rows)
            if rows
            else markdown("No row is retracted: `sultana retract` does that."),
        },
        content=found.digest,
    )
