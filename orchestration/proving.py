"""`sultana prove`: a file that shows, without the tables and without Sultana, that a row was trained on or was not."""

import shutil
from pathlib import Path
from typing import Any

import orjson

from assets.lineage import check_proof
from assets.lineage.audit.forward import find_origins, parse
from assets.lineage.manifest import manifest_bytes, table_of
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

    `row` is the id of an instruction or an origin, or FILE:LINE, as the sources were when the version was made. An id
    that they do not know is proved out. Raises SultanaError where FILE:LINE is nowhere or in several files, the
    version has no manifest, or another one than its chain gives, or `out` exists.
    """
    out = out.expanduser().resolve()
    if out.exists():
        raise SultanaError(
            f"{out} exists already", "Name a folder that does not exist yet", code="output-exists"
        )
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    model = find_registered(tracking, reference)
    asked = parse(row)
    with open_instance(data_folder()) as instance:
        lineage = lineage_of(instance, tracking, tables, model)
        chain = lineage.chain
        clusters = chain.follow(chain.follow(chain.checkpoint, "curriculum"), "diversity_clusters")
        raw = chain.follow(chain.follow(clusters, "instructions"), "raw_instructions")
        names = {one["instruction_id"] for one in find_origins(tables, table_of(raw), asked)}
    if not names and asked.row_id is None:
        raise SultanaError(
            f"No source that {model.title} was made from has {escape_terminal(row, 80)}",
            "Check the file and the line, or name the row by its id",
            code="row-not-found",
        )
    if len(names) > 1:
        raise SultanaError(
            f"{len(names)} rows stood at {escape_terminal(row, 80)}, in files whose names end alike",
            "Give more of the file's path, or the row's id",
            code="row-ambiguous",
        )
    instruction = names.pop() if names else asked.row_id
    if instruction is None:
        raise SultanaError(
            f"{escape_terminal(row, 80)} could not be read as an instruction, so no model was trained on it",
            f"See why: sultana trace {escape_terminal(row, 80)}",
            code="row-unusable",
        )
    if lineage.registered_sha256 != lineage.sha256:
        raise SultanaError(
            f"{model.title} carries the manifest hash {lineage.registered_sha256}, and its chain gives "
            f"{lineage.sha256}",
            "Materialize lineage_manifest"
            if lineage.registered_sha256 is None
            else f"Find out what was changed: sultana audit {model.name}/{model.version} --verify",
            code="manifest-changed",
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
