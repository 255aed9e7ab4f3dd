"""The door to the checks of the stage `embeddings`."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.embeddings.config import EmbeddingsChecksConfig
from assets.instructions.erasures import erased_rows
from assets.materialized import Materialized, follow, made_before
from assets.outcome import Outcome
from assets.records import embeddings_record
from resources.definitions import Storage

ASSET = "instruction_embeddings"
EVERY_ROW_EMBEDDED = "every_instruction_is_embedded"
UNIT_LENGTH = "vectors_have_unit_length"
DRIFT = "embedding_drift"

BATCH_ROWS = 65_536
"""Large, since each batch is held against all ids: 96 MiB of vectors of 384 numbers."""


@dg.multi_asset_check(
    name="instruction_embeddings_checks",
    specs=[
        schema_spec(ASSET),
        dg.AssetCheckSpec(
            EVERY_ROW_EMBEDDED,
            asset=ASSET,
            blocking=True,
            description="Each instruction has exactly one vector from this embedder.",
        ),
        dg.AssetCheckSpec(
            UNIT_LENGTH,
            asset=ASSET,
            blocking=True,
            description="Each vector is finite and of length 1: distances and cosines rest on it.",
        ),
        dg.AssetCheckSpec(
            DRIFT,
            asset=ASSET,
            description="The mean embedding is close to that of the materialization before, by the same embedder.",
        ),
    ],
    can_subset=True,
)
def instruction_embeddings_checks(
    context: dg.AssetCheckExecutionContext, config: EmbeddingsChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Completeness, norm and drift of the embeddings."""
    from assets.embeddings.soundness import all_embedded, drift, mean_vector, unit_length

    checking = Checking(context, storage)
    made = checking.made(ASSET)

    def ids(of: Materialized) -> pa.Array:
        return checking.column(follow(context.instance, of, "instructions"), "instruction_id")

    def moved() -> Outcome:
        before = made_before(context.instance, made)
        if before is None or before.table().table != made.table().table:
            return drift(None, None, config.maximum_drift)
        now, then = (
            mean_vector(checking.tables.batches(one.table(), batch_size=BATCH_ROWS), ids(one))
            for one in (made, before)
        )
        return drift(now, then, config.maximum_drift)

    def schema() -> Outcome:
        # The table is named after its embedder, as the record is.
        dimension = int(made.metadata["dimension"].value)  # type: ignore[arg-type]
        return checking.schemas(made, embeddings_record(made.table().table.rpartition("_")[2], dimension))

    yield from checking.results(
        {
            (ASSET, SCHEMA_AS_DECLARED): schema,
            (ASSET, EVERY_ROW_EMBEDDED): lambda: all_embedded(
                ids(made), checking.column(made, "instruction_id")
            ),
            (ASSET, UNIT_LENGTH): lambda: unit_length(
                checking.tables.batches(made.table(), columns=["instruction_id", "vector"]),
                config.maximum_length_error,
                erased_rows(checking.tables, made.table().table),
            ),
            (ASSET, DRIFT): moved,
        }
    )
