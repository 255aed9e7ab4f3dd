"""`sultana audit`: what went into a registered version, by the event pointers that each materialization recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lineage.audit.backward import LEDGER_ROW
from assets.lineage.audit.lineage import tell
from assets.lineage.audit.rows_file import ROW_FILES, checked_rows_file, write_rows_file
from assets.lineage.manifest import MANIFEST_TAG
from assets.lineage.report.audit_page import render_audit
from assets.records import EVALUATIONS
from orchestration.chains import RegisteredLineage, chain_of, read_chain, signature_of
from orchestration.instance import open_instance
from orchestration.registered import Registered, find_registered, made_for, open_registry
from orchestration.retraction_audit import audited
from orchestration.verifying import verify
from resources.definitions import Storage, data_folder
from resources.files import write_atomically
from resources.tables import LanceTables
from resources.text import sql_quote

PAGE_FILES = (".html",)


def audit(
    reference: str,
    rows_file: Path | None = None,
    page_file: Path | None = None,
    *,
    verified: bool = False,
    every_row: bool = False,
    replayed: bool = False,
    say: Any = len,
    tracking_uri: str = "",
) -> dict[str, Any]:
    """Everything upstream of a registered version, as JSON values; its ledger and a page also as files, where named.

    `chain` holds every materialization, the checkpoint first; `totals` what `Backward.totals` counts; `manifest`
    whether the chain is still the one whose hash the model version carries; `verification`, where it was asked for,
    what `verifying.verify` found (with `every_row` of each row's values as well), `replay` what `replaying.replay` did;
    `say` is told the progress. Raises SultanaError where the version is not there, a link is broken, or a file exists
    or has another ending than .parquet or .jsonl for rows, .html for the page.
    """
    if rows_file is not None:
        rows_file = checked_rows_file(rows_file, ROW_FILES)
    if page_file is not None:
        page_file = checked_rows_file(page_file, PAGE_FILES)
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    model = find_registered(tracking, reference)
    with open_instance(data_folder()) as instance:
        chain, told_by = chain_of(instance, tracking, model)
        checked: dict[str, Any] | None = None
        lineage: RegisteredLineage | None = None
        if verified or every_row:
            checked, lineage = verify(instance, tracking, tables, model, chain, told_by, say, every_row)
        else:
            lineage = read_chain(tables, model, chain, told_by)
        told = tell(chain, lineage, _scores(instance, tables, lineage) if lineage else ())
        told["model"] |= {"name": model.name, "aliases": list(model.aliases)}
        told["manifest"] |= _manifest(model, lineage, told_by)
        if checked is not None:
            told["verification"] = checked
        if lineage is not None and (checked is None or checked["sound"]):
            told["retractions"] = audited(tables, lineage)
            told["totals"] = lineage.backward.totals()
            if replayed:
                from orchestration.replaying import replay

                told["replay"] = replay(tracking, tables, lineage, say)
            if rows_file is not None:
                written = write_rows_file(rows_file, LEDGER_ROW, lineage.backward.batches())
                told["rows_file"] = {"file": str(rows_file), "rows": written}
    if page_file is not None:
        write_atomically(page_file, render_audit(told, lineage, signature_of(model)).encode())
        told["page_file"] = str(page_file)
    return told


def holds(found: Mapping[str, Any]) -> bool:
    """Whether everything that an audit was asked to check is as recorded."""
    verification, replay = found.get("verification"), found.get("replay")
    return (verification is None or verification["sound"]) and (replay is None or replay["reproduced"])


def _manifest(model: Registered, lineage: RegisteredLineage | None, told_by: str) -> dict[str, Any]:
    registered, signature = model.tags.get(MANIFEST_TAG), signature_of(model)
    return {
        "registered": registered,
        "agrees": None if registered is None or lineage is None else registered == lineage.sha256,
        "signed_by": signature["public_key"] if signature else None,
        "told_by": told_by,
    }


def _scores(
    instance: dg.DagsterInstance, tables: LanceTables, lineage: RegisteredLineage
) -> list[Mapping[str, Any]]:
    """The rows of the version's newest evaluation; without Dagster's word, all that the table has of it."""
    made = made_for(instance, "evaluation", lineage.model)[:1]
    if made:
        return list(made[0].record["facts"]["rows"])
    ref = tables.head(EVALUATIONS.table)
    wanted = f"checkpoint_id = {sql_quote(lineage.chain.checkpoint['facts']['checkpoint_id'])}"
    return tables.read(ref, filter=wanted).to_pylist() if ref is not None else []
