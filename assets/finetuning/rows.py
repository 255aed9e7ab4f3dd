"""Rows by id as training rows: conversations encoded once, recipes joined with their parents.

A row of a curriculum that has no token to train on, or whose response is longer than the longest row, is
refused with its id: what is trained on is the ledger, whole.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assets.interpolation.recipes import Recipe
from assets.ledger import read_curriculum
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter

if TYPE_CHECKING:
    from assets.finetuning.training_row import TrainingRow


_NAMED = 5  # refused rows that an error names


@dataclass(frozen=True)
class EncodedRows:
    """Training rows by row id, and the rows that cannot be trained on with the reason why."""

    rows: dict[str, "TrainingRow"]
    refused: dict[str, str]

    @property
    def reasons(self) -> Counter[str]:
        """How many rows were refused for each reason."""
        return Counter(self.refused.values())


def read_recipes(tables: LanceTables, ref: TableRef) -> dict[str, Recipe]:
    """The recipes of an interpolated_instructions table, by recipe id."""
    columns = ["recipe_id", "parent_a", "parent_b", "lambda", "layer", "alignment"]
    found = tables.read(ref, columns=columns)
    return {
        row["recipe_id"]: Recipe(
            row["parent_a"], row["parent_b"], row["lambda"], row["layer"], row["alignment"]
        )
        for row in found.to_pylist()
    }


def read_batches(
    tables: LanceTables,
    *,
    curriculum: TableRef,
    curriculum_id: str,
    instructions: TableRef,
    interpolated: TableRef,
    tokenizer: Any,
    maximum_length: int,
) -> list[list["TrainingRow"]]:
    """The batches of a ledger in order, encoded, with the weights that the ledger gives its rows.

    Raises SultanaError where a row cannot be trained on, naming it, and as `read_curriculum` and
    `encode_rows` do.
    """
    ledger = tables.read(curriculum, filter=id_filter("curriculum_id", [curriculum_id]))
    steps = read_curriculum(ledger, curriculum_id).steps
    conversations = tables.read(instructions, columns=["instruction_id", "messages"])
    encoded = encode_rows(
        sorted(set(ledger["row_id"].to_pylist())),
        tokenizer=tokenizer,
        conversations={row["instruction_id"]: row["messages"] for row in conversations.to_pylist()},
        recipes=read_recipes(tables, interpolated),
        maximum_length=maximum_length,
    )
    if encoded.refused:
        named = [f"{row_id} ({reason})" for row_id, reason in sorted(encoded.refused.items())]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        raise SultanaError(
            f"{len(named)} rows of the curriculum cannot be trained on at a maximum_length of {maximum_length}: "
            f"{', '.join(named[:_NAMED])}{more}",
            "Materialize the curriculum again; it leaves out rows that are too long",
            code="rows-too-long",
        )
    return [[replace(encoded.rows[entry.row_id], weight=entry.weight) for entry in step] for step in steps]


def encode_rows(
    row_ids: Sequence[str],
    *,
    tokenizer: Any,
    conversations: Mapping[str, Sequence[Mapping[str, str]]],
    recipes: Mapping[str, Recipe],
    maximum_length: int,
) -> EncodedRows:
    """Encodes original rows and both parents of interpolated ones, at most `maximum_length` tokens each.

    Raises SultanaError where an id is neither an instruction nor a recipe, a parent is missing, or a
    recipe has an unknown alignment.
    """
    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.training_row import TrainingRow

    needed: dict[str, Sequence[Mapping[str, str]]] = {}
    for row_id in row_ids:
        for key in _parents(recipes.get(row_id), row_id):
            if key not in conversations:
                raise SultanaError(
                    f"Row {key} is selected, but it is not in the instructions that the selection was made from",
                    "Materialize diversity_clusters and what follows it again",
                    code="lineage-broken",
                )
            needed[key] = conversations[key]
    encoded, refusals = ChatEncoder(tokenizer).encode_all(sorted(needed.items()), maximum_length)
    by_id = {one.row_id: one for one in encoded}
    reasons = {one.row_id: one.reason for one in refusals}
    rows: dict[str, TrainingRow] = {}
    refused: dict[str, str] = {}
    for row_id in row_ids:
        recipe = recipes.get(row_id)
        keys = _parents(recipe, row_id)
        missing = [reasons[key] for key in keys if key in reasons]
        if missing:
            refused[row_id] = missing[0] if recipe is None else f"parent: {missing[0]}"
            continue
        parents = tuple(by_id[key] for key in keys)
        if recipe is None:
            rows[row_id] = TrainingRow(row_id, parents)
            continue
        # However they are aligned, a label is left: the last token of an encoded row is trained on, and the
        # shorter of two responses stays whole.
        rows[row_id] = TrainingRow(
            row_id, parents, recipe.weight, alignment=recipe.alignment, layer=recipe.layer
        )
    return EncodedRows(rows, refused)


def _parents(recipe: Recipe | None, row_id: str) -> tuple[str, ...]:
    return (row_id,) if recipe is None else (recipe.parent_a, recipe.parent_b)
