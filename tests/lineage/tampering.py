"""Ways to change what is stored behind a model, one for each kind of artifact, and how to undo each.

Each takes the data folder and a generator, changes something as somebody would who has the disk, and says by
which words a verification has to name it. Where an attacker would cover his traces (hashes beside the rows, the commit
log), so does the tampering.
"""

from collections.abc import Callable

import tampering_models as models
import tampering_tables as tables
from tampering_scene import Generator, Scene, Words, undone

__all__ = ["KINDS", "Scene", "undone"]

KINDS: dict[str, Callable[[Scene, Generator], Words]] = {
    one.__name__: one
    for one in (
        tables.bit_of_rows,
        tables.bit_of_a_table_manifest,
        tables.bit_of_a_transaction,
        tables.missing_file_of_rows,
        tables.truncated_file_of_rows,
        tables.missing_table,
        tables.moved_tag,
        tables.edited_row,
        tables.edited_response,
        tables.swapped_rows,
        tables.edited_score_of_the_ledger,
        tables.other_row_in_a_slot,
        tables.edited_evaluation,
        tables.edited_decision,
        tables.edited_commit,
        tables.removed_commit,
        models.bit_of_the_model,
        models.missing_file_of_the_model,
        models.added_file_of_the_model,
        models.other_adapter_with_its_manifest,
        models.edited_parameter,
        models.edited_loss,
        models.edited_manifest_in_mlflow,
        models.missing_manifest_in_mlflow,
        models.edited_hash_of_the_manifest,
        models.edited_signature,
        models.moved_alias,
        models.edited_configuration_in_dagster,
        models.edited_digest_in_dagster,
    )
}
