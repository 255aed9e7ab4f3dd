"""The door to the checks of the stage `interpolation`."""

from collections.abc import Iterator

import dagster as dg

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.interpolation.soundness import recipes_sound
from assets.materialized import follow
from assets.records import INTERPOLATED_INSTRUCTIONS
from resources.definitions import Storage

ASSET = "interpolated_instructions"
RECIPES_SOUND = "recipes_are_sound"


@dg.multi_asset_check(
    name="interpolated_instructions_checks",
    specs=[
        schema_spec(ASSET),
        dg.AssetCheckSpec(
            RECIPES_SOUND,
            asset=ASSET,
            blocking=True,
            description="Both parents are instructions, they differ, and λ lies in [0, 1].",
        ),
    ],
    can_subset=True,
)
def interpolated_instructions_checks(
    context: dg.AssetCheckExecutionContext, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Schema and soundness of the recipes."""
    checking = Checking(context, storage)
    made = checking.made(ASSET)
    yield from checking.results(
        {
            (ASSET, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, INTERPOLATED_INSTRUCTIONS),
            (ASSET, RECIPES_SOUND): lambda: recipes_sound(
                checking.tables.read(made.table(), columns=["parent_a", "parent_b", "lambda"]),
                checking.column(follow(context.instance, made, "instructions"), "instruction_id"),
            ),
        }
    )
