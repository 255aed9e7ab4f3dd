"""The door to the checks of the stage `instructions`: what was read, and where each row went."""

from collections.abc import Iterator

import dagster as dg

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.instructions.config import InstructionsChecksConfig, RawInstructionsChecksConfig
from assets.instructions.soundness import (
    contaminated_share,
    duplicate_share,
    quarantined_share,
    readable,
    rows_accounted,
)
from assets.materialized import follow
from assets.outcome import Outcome
from assets.records import DROPPED_INSTRUCTIONS, INSTRUCTIONS, QUARANTINE, RAW_INSTRUCTIONS
from resources.definitions import Storage

RAW, KEPT = "raw_instructions", "instructions"
READABLE = "enough_rows_are_readable"
ROWS_BALANCE = "rows_in_equal_rows_out"
QUARANTINED = "quarantined_share"
DUPLICATES = "duplicate_share"
CONTAMINATED = "contaminated_share"


@dg.multi_asset_check(
    name="raw_instructions_checks",
    specs=[
        schema_spec(RAW),
        dg.AssetCheckSpec(
            READABLE,
            asset=RAW,
            blocking=True,
            description="Enough of the raw rows could be read: what is left of a source that is mostly broken is "
            "not what was meant to be trained on.",
        ),
    ],
    can_subset=True,
)
def raw_instructions_checks(
    context: dg.AssetCheckExecutionContext, config: RawInstructionsChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Schema and readability of the raw rows."""
    checking = Checking(context, storage)
    made = checking.made(RAW)
    yield from checking.results(
        {
            (RAW, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, RAW_INSTRUCTIONS),
            (RAW, READABLE): lambda: readable(
                checking.column(made, "problem"), config.minimum_readable_share
            ),
        }
    )


@dg.multi_asset_check(
    name="instructions_checks",
    specs=[
        schema_spec(KEPT),
        schema_spec("quarantine"),
        schema_spec("dropped_instructions"),
        dg.AssetCheckSpec(
            ROWS_BALANCE,
            asset=KEPT,
            blocking=True,
            description="Every raw row is in exactly one place: rows in = kept + quarantined + merged + dropped.",
        ),
        dg.AssetCheckSpec(
            QUARANTINED,
            asset="quarantine",
            description="Not too many of the raw rows are unfit to learn from.",
        ),
        dg.AssetCheckSpec(
            DUPLICATES,
            asset="dropped_instructions",
            description="Not too many of the raw rows are exact or near-duplicates of others.",
        ),
        dg.AssetCheckSpec(
            CONTAMINATED,
            asset="dropped_instructions",
            description="Not too many of the raw rows share text with a benchmark.",
        ),
    ],
    can_subset=True,
)
def instructions_checks(
    context: dg.AssetCheckExecutionContext, config: InstructionsChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Row accounting, and the shares of rows that were left out."""
    checking = Checking(context, storage)
    kept, quarantine, dropped = (checking.made(name) for name in (KEPT, "quarantine", "dropped_instructions"))
    raw = follow(context.instance, kept, RAW)
    rows = raw.table().rows

    def accounted() -> Outcome:
        return rows_accounted(
            checking.column(raw, "origin_id"),
            checking.column(kept, "instruction_id"),
            checking.field(kept, "origins", "origin_id"),
            checking.column(quarantine, "origin_id"),
            checking.column(dropped, "origin_id"),
        )

    yield from checking.results(
        {
            (KEPT, SCHEMA_AS_DECLARED): lambda: checking.schemas(kept, INSTRUCTIONS),
            ("quarantine", SCHEMA_AS_DECLARED): lambda: checking.schemas(quarantine, QUARANTINE),
            ("dropped_instructions", SCHEMA_AS_DECLARED): lambda: checking.schemas(
                dropped, DROPPED_INSTRUCTIONS
            ),
            (KEPT, ROWS_BALANCE): accounted,
            ("quarantine", QUARANTINED): lambda: quarantined_share(
                quarantine.table().rows, rows, config.maximum_quarantined_share
            ),
            ("dropped_instructions", DUPLICATES): lambda: duplicate_share(
                checking.column(dropped, "reason"), rows, config.maximum_duplicate_share
            ),
            ("dropped_instructions", CONTAMINATED): lambda: contaminated_share(
                checking.column(dropped, "reason"), rows, config.maximum_contaminated_share
            ),
        }
    )
