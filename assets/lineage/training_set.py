"""The instructions that a checkpoint was trained on, committed to by one hash, and proofs of who is among them.

A leaf of the tree is an instruction: its id, and every slot in which it was trained on, itself or as the parent
of a mix. The root stands in the lineage manifest, whose hash the model version carries and a key can sign; so
a proof of a few kilobytes shows that a row was, or was not, in a training set of millions, to somebody who has
neither the tables nor Sultana (`check_proof.py`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from resources.errors import SultanaError
from resources.merkle import MerkleTree, merkle_tree
from resources.row_hashes import hash_values
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter

PROOF_FORMAT = "sultana.proof/1"


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Instructions in the order of their ids, and for each the JSON text of its uses.

    A use is [step, slot, row id, share, weight]: the share is 1 where the instruction itself stood in the slot,
    λ or 1 - λ where a mix did; the weight is that of the slot's loss.
    """

    ids: pa.StringArray
    uses: pa.StringArray

    @cached_property
    def tree(self) -> MerkleTree:
        """The tree over the instructions."""
        return merkle_tree(hash_values(self.ids), hash_values(self.uses))

    def commitment(self) -> dict[str, Any]:
        """What the manifest says of it: the root and the number of instructions."""
        return {"root": self.tree.root, "instructions": len(self.ids)}

    def uses_of(self, instruction_id: str) -> str | None:
        """The uses of an instruction as JSON, or None where it was not trained on."""
        place = int(np.searchsorted(self.ids.to_numpy(zero_copy_only=False), instruction_id))
        found = place < len(self.ids) and self.ids[place].as_py() == instruction_id
        return str(self.uses[place].as_py()) if found else None

    def proof(
        self, instruction_id: str, manifest_text: str, signature: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Everything that `check_proof.py` needs, as JSON values.

        `manifest_text` is the manifest in the form in which it was hashed, `signature` what signed that hash.
        """
        uses = self.uses_of(instruction_id)
        return {
            "format": PROOF_FORMAT,
            "instruction_id": instruction_id,
            "included": uses is not None,
            "uses": uses,
            "tree": self.tree.proof(hashlib.sha256(instruction_id.encode()).digest()),
            "manifest": manifest_text,
            "manifest_sha256": hashlib.sha256(manifest_text.encode()).hexdigest(),
            "signature": None if signature is None else dict(signature),
        }


def training_set(
    tables: LanceTables, curriculum: TableRef, curriculum_id: str, recipes: TableRef
) -> TrainingSet:
    """The training set of a curriculum, from its ledger and the recipes of its mixes.

    Raises SultanaError where a mix has no recipe.
    """
    columns = ["step", "slot", "row_id", "kind", "weight"]
    ledger = tables.read(curriculum, columns=columns, filter=id_filter("curriculum_id", [curriculum_id]))
    mixed = pc.equal(ledger["kind"], "interpolated")
    plain = ledger.filter(pc.invert(mixed))
    uses = [
        _uses(plain, plain["row_id"], pa.chunked_array([np.ones(len(plain))], pa.float64())),
        *_mixed_uses(tables, ledger.filter(mixed), recipes),
    ]
    whole = pa.concat_tables(uses).sort_by(
        [
            ("instruction_id", "ascending"),
            ("step", "ascending"),
            ("slot", "ascending"),
            ("share", "ascending"),
        ]
    )
    ids, starts = np.unique(whole["instruction_id"].to_numpy(), return_index=True)
    rows = list(zip(*(whole[name].to_pylist() for name in _USE), strict=True))
    ends = [*starts[1:].tolist(), len(rows)]
    texts = [orjson.dumps(rows[start:end]).decode() for start, end in zip(starts.tolist(), ends, strict=True)]
    return TrainingSet(pa.array(ids.tolist(), pa.string()), pa.array(texts, pa.string()))


_USE = ("step", "slot", "row_id", "share", "weight")


def _uses(slots: pa.Table, instructions: pa.ChunkedArray, shares: pa.ChunkedArray) -> pa.Table:
    return pa.table(
        {
            "instruction_id": instructions,
            "step": slots["step"],
            "slot": slots["slot"],
            "row_id": slots["row_id"],
            "share": shares,
            "weight": slots["weight"],
        }
    )


def _mixed_uses(tables: LanceTables, slots: pa.Table, recipes: TableRef) -> list[pa.Table]:
    """One table for each parent of the mixes in these slots."""
    if not len(slots):
        return []
    wanted = pc.unique(slots["row_id"])
    columns = ["recipe_id", "parent_a", "parent_b", "lambda"]
    found = pa.Table.from_batches(
        [
            batch.filter(pc.is_in(batch["recipe_id"], value_set=wanted))
            for batch in tables.batches(recipes, columns=columns, batch_size=65_536)
        ]
    )
    places = pc.index_in(slots["row_id"], value_set=found["recipe_id"].combine_chunks())
    if places.null_count:
        lost = slots["row_id"].filter(places.is_null())[0]
        raise SultanaError(
            f"The lineage is broken: the mix {lost} has no recipe in {recipes.table} version {recipes.version}",
            "Restore the tables from a backup, or materialize the curriculum and what follows it again",
            code="lineage-broken",
        )
    parents = found.take(places)
    return [
        _uses(slots, parents["parent_a"], parents["lambda"]),
        _uses(slots, parents["parent_b"], pc.subtract(1.0, parents["lambda"])),
    ]
