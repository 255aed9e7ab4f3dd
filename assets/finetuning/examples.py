"""Benchmark examples as the model sees them: chosen by hash, encoded with the model's chat template."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables

if TYPE_CHECKING:
    from assets.finetuning.scoring import Example


@dataclass(frozen=True)
class EncodedExamples:
    """Examples of one split in the order of their ids, and those that could not be encoded, with the reason."""

    examples: list["Example"]
    refused: dict[str, str]


def encode_examples(
    tables: LanceTables,
    ref: TableRef,
    split: str,
    *,
    tokenizer: Any,
    maximum_length: int,
    most: int = 0,
    answered: bool = False,
) -> EncodedExamples:
    """`most` examples of a split (0: all), the first in order of their ids, which are hashes.

    `answered` leaves out those without an answer to compare with. Raises SultanaError where none is left.
    """
    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.scoring import Example

    rows = [row for row in tables.read(ref).to_pylist() if row["split"] == split]
    if answered:
        rows = [row for row in rows if row["answer"] is not None]
    rows = sorted(rows, key=lambda row: row["example_id"])
    rows = rows[:most] if most else rows
    encoded, refused = ChatEncoder(tokenizer).encode_all(
        [
            (row["example_id"], [*row["messages"], {"role": "assistant", "content": row["response"]}])
            for row in rows
        ],
        maximum_length,
    )
    by_id = {row["example_id"]: row for row in rows}
    if not encoded:
        what = "with an answer " if answered else ""
        raise SultanaError(
            f"The split '{split}' has no example {what}of at most {maximum_length} tokens",
            "Name a source for it in benchmark_splits, or raise maximum_length",
            code="split-without-examples",
        )
    return EncodedExamples(
        [Example(one.row_id, by_id[one.row_id]["task"], one, by_id[one.row_id]["answer"]) for one in encoded],
        {one.row_id: one.reason for one in refused},
    )
