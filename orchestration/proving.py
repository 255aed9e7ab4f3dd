"""`sultana prove`: a file that shows, without the tables and without Sultana, that a row was trained on or was not."""

import shutil
from pathlib import Path
from typing import Any

import orjson

from assets.lineage import check_proof
from assets.lineage.audit.forward import find_origins, parse
from assets.lineage.manifest import manifest_bytes
from assets.materialized import every_materialization
from orchestration.chains import lineage_of
from orchestration.instance import open_instance
from orchestration.registered import find_registered, open_registry
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.files import publish_folder
from resources.text import escape_terminal

PROOF, CHECKER = "proof.json", "check_proof.py"


def prove(reference: str, row: str, out: Path, *, tracking_uri: str = "") -> dict[str, Any]:
    """Writes the folder `out` with the proof and the script that checks it; what was proved, as JSON values.

    `row` is the id of an instruction or an origin, or FILE:LINE. An id that no table knows is proved out. Raises
    SultanaError where the version has no manifest, or another one than its chain gives, or `out` exists.
    """
    out = out.expanduser().resolve()
    if out.exists():
        raise SultanaError(f"{out} exists already", "Name a folder that does not exist yet")
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    model = find_registered(tracking, reference)
    asked = parse(row)
    with open_instance(data_folder()) as instance:
        lineage = lineage_of(instance, tracking, tables, model)
        instruction = asked.row_id
        for raw in every_materialization(instance, "raw_instructions"):
            if tables.is_reclaimed(raw.table()):
                continue
            if origins := find_origins(tables, raw.table(), asked):
                instruction = origins[0]["instruction_id"]
                break
        else:
            if asked.row_id is None:
                raise SultanaError(
                    f"No source that was read has {escape_terminal(row, 80)}",
                    "Check the file and the line, or name the row by its id",
                )
    if instruction is None:
        raise SultanaError(
            f"{escape_terminal(row, 80)} could not be read as an instruction, so no model was trained on it",
            f"See why: sultana trace {escape_terminal(row, 80)}",
        )
    if lineage.registered_sha256 != lineage.sha256:
        raise SultanaError(
            f"{model.title} carries the manifest hash {lineage.registered_sha256}, and its chain gives "
            f"{lineage.sha256}",
            "Materialize lineage_manifest"
            if lineage.registered_sha256 is None
            else f"Find out what was changed: sultana audit {model.name}/{model.version} --verify",
        )
    document = lineage.trained_on.proof(
        instruction, manifest_bytes(lineage.manifest).decode(), lineage.signature
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    (temporary / PROOF).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    shutil.copyfile(check_proof.__file__, temporary / CHECKER)
    publish_folder(temporary, out)
    return {
        "model": model.name,
        "version": model.version,
        "row": row,
        "instruction_id": instruction,
        "included": document["included"],
        "uses": orjson.loads(document["uses"]) if document["uses"] else [],
        "training_set": lineage.trained_on.commitment(),
        "manifest_sha256": lineage.sha256,
        "signed_by": lineage.signature["public_key"] if lineage.signature else None,
        "folder": str(out),
    }
