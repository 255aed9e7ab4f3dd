"""Rows by id as training rows: conversations encoded once, recipes joined with their parents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.errors import SultanaError
from resources.tables import LanceTables, TableRef

if TYPE_CHECKING:
    from assets.finetuning.trainer import TrainingRow


@dataclass(frozen=True)
class EncodedRows:
    """Training rows by row id, and the rows that cannot be trained on with the reason why."""

    rows: dict[str, "TrainingRow"]
    refused: dict[str, str]

    @property
    def reasons(self) -> Counter[str]:
        """How many rows were refused for each reason."""
        return Counter(self.refused.values())


def read_recipes(tables: LanceTables, ref: TableRef) -> dict[str, tuple[str, str, float]]:
    """recipe_id -> (parent_a, parent_b, λ) of an interpolated_instructions table."""
    found = tables.read(ref, columns=["recipe_id", "parent_a", "parent_b", "lambda"])
    return {row["recipe_id"]: (row["parent_a"], row["parent_b"], row["lambda"]) for row in found.to_pylist()}


def encode_rows(
    row_ids: Sequence[str],
    *,
    tokenizer: Any,
    conversations: Mapping[str, Sequence[Mapping[str, str]]],
    recipes: Mapping[str, tuple[str, str, float]],
    maximum_length: int,
) -> EncodedRows:
    """Encodes original rows and both parents of interpolated ones, at most `maximum_length` tokens each.

    Raises SultanaError where an id is neither an instruction nor a recipe, or a parent is missing.
    """
    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.trainer import TrainingRow

    needed: dict[str, Sequence[Mapping[str, str]]] = {}
    for row_id in row_ids:
        for key in recipes[row_id][:2] if row_id in recipes else (row_id,):
            if key not in conversations:
                raise SultanaError(
                    f"Row {key} is selected, but it is not in the instructions that the selection was made from",
                    "Materialize diversity_clusters and what follows it again",
                )
            needed[key] = conversations[key]
    encoded, refusals = ChatEncoder(tokenizer).encode_all(sorted(needed.items()), maximum_length)
    by_id = {one.row_id: one for one in encoded}
    reasons = {one.row_id: one.reason for one in refusals}
    rows: dict[str, TrainingRow] = {}
    refused: dict[str, str] = {}
    for row_id in row_ids:
        first, second, weight = recipes.get(row_id, (row_id, None, 1.0))
        keys = (first,) if second is None else (first, second)
        missing = [reasons[key] for key in keys if key in reasons]
        if missing:
            refused[row_id] = missing[0] if second is None else f"parent: {missing[0]}"
        else:
            rows[row_id] = TrainingRow(row_id, tuple(by_id[key] for key in keys), mixing=weight)
    return EncodedRows(rows, refused)
