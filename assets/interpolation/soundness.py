"""Whether recipes can be mixed: known and different parents, λ in [0, 1]."""

import pyarrow as pa
import pyarrow.compute as pc

from assets.outcome import Outcome, no_faults


def recipes_sound(recipes: pa.Table, instructions: pa.Array) -> Outcome:
    """Faults of recipes (columns parent_a, parent_b, lambda) drawn from the ids `instructions`."""
    sides = ("parent_a", "parent_b")
    known = sum(pc.sum(pc.is_in(recipes[side], value_set=instructions)).as_py() or 0 for side in sides)
    weights = recipes["lambda"]
    inside = pc.and_(pc.greater_equal(weights, 0), pc.less_equal(weights, 1))
    return no_faults(
        {
            "unknown_parents": 2 * recipes.num_rows - known,
            "recipes_with_equal_parents": pc.sum(pc.equal(*(recipes[side] for side in sides))).as_py() or 0,
            "weights_outside_0_to_1": recipes.num_rows - (pc.sum(inside).as_py() or 0),
        },
        sound=f"{recipes.num_rows:,} recipes of two different instructions each, λ in [0, 1]",
        remedy="Materialize interpolated_instructions again: its table was edited, or is of other instructions",
    )
