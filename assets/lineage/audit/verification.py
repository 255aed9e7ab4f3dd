"""Whether the records of a chain still say what they said: every hash in them, and every id, recomputed.

The tables behind the chain are `resources.table_verification`'s, the model's files the registry's. Nothing here needs
Dagster: the links come from its event log or from the manifest in MLflow.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.identity import decision_id, digest, instruction_id, recipe_id, rows_digest
from assets.instructions.erasures import erased_rows
from assets.instructions.retractions import broken_link, read_decisions
from assets.lineage.audit.backward import Backward
from assets.lineage.manifest import Chain, table_of
from assets.lineage.promotion import Decision, decision_of, standing
from assets.records import CURRICULUM, EVALUATIONS, PROMOTIONS
from resources.errors import SultanaError
from resources.findings import Finding
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter, sql_quote

_AGAIN = "Restore Dagster's database from a backup, or materialize the asset and what follows it again"
_TABLES = "Restore the tables from a backup, or materialize the asset and what follows it again"


def title_of(link: Mapping[str, Any]) -> str:
    """A materialization, for people."""
    return f"{link['asset']} {link['partition'] or ''}".strip()


def record_problems(chain: Chain) -> Iterator[Finding]:
    """Links whose configuration, settings, code version, inputs or data version are not those that were recorded."""
    by_id = {one["storage_id"]: one for one in chain.links}
    for link in chain.links:
        upstream = {name: by_id[place]["data_version"] for name, place in link["upstream"].items()}
        inputs = digest(
            {
                "asset": link["asset"],
                "partition": link["partition"],
                "code_version": link["code_version"],
                "configuration": link["configuration"],
                "settings": link["settings"],
                "upstream": upstream,
            }
        )
        if inputs != link["inputs_digest"]:
            yield Finding(
                title_of(link),
                "its record was changed: configuration, settings, code version and inputs do not give the hash that "
                "was recorded with them",
                _AGAIN,
            )
        version = digest([link["content_digest"], link["configuration"], link["settings"].get("seed")])[:32]
        if version != link["data_version"]:
            yield Finding(
                title_of(link),
                f"its data version is {link['data_version']}; content and configuration give {version}",
                _AGAIN,
            )


def identity_problems(behind: Backward) -> Iterator[Finding]:
    """Rows of the training set whose id is not the hash of their content, and a ledger that is not as recorded."""
    mine = id_filter("curriculum_id", [behind.curriculum_id])
    ledger = behind.tables.read(behind.curriculum, columns=["row_id", "kind"], filter=mine)
    rows = set(pc.unique(ledger["row_id"]).to_pylist())
    parents = set(rows)
    for row in _among(behind.tables, behind.recipes, "recipe_id", rows, None):
        made = recipe_id(
            row["parent_a"], row["parent_b"], row["lambda"], row["seed"], row["layer"], row["alignment"]
        )
        if made != row["recipe_id"]:
            yield _renamed(behind.recipes, row["recipe_id"], made)
        parents |= {row["parent_a"], row["parent_b"]}
    erased = erased_rows(behind.tables, behind.instructions.table)
    columns = ["instruction_id", "messages"]
    for row in _among(behind.tables, behind.instructions, "instruction_id", parents - erased, columns):
        if (made := instruction_id(row["messages"])) != row["instruction_id"]:
            yield _renamed(behind.instructions, row["instruction_id"], made)


def _renamed(ref: TableRef, name: str, made: str) -> Finding:
    return Finding(
        f"{ref.table} version {ref.version}",
        f"the row {name} has another content: its id would be {made}",
        _TABLES,
    )


def ledger_problems(tables: LanceTables, link: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the rows of one curriculum in the ledger are those that its materialization recorded."""
    ref, name = table_of(link), link["facts"]["curriculum_id"]
    rows = tables.read(ref, filter=id_filter("curriculum_id", [name]))
    ordered = rows.sort_by([("step", "ascending"), ("slot", "ascending")]).select(CURRICULUM.schema.names)
    if rows_digest(ordered.to_pylist()) != link["content_digest"]:
        yield Finding(
            title_of(link),
            f"the entries of curriculum {name} in {ref.table} version {ref.version} are not those that were recorded",
            _TABLES,
        )


def evaluation_problems(tables: LanceTables, link: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the scores in the table are those that the evaluation's materialization recorded."""
    recorded = {row["evaluation_id"]: row for row in link["facts"]["rows"]}
    stored = tables.read(
        table_of(link, EVALUATIONS.table), filter=id_filter("evaluation_id", sorted(recorded))
    ).to_pylist()
    found = {row["evaluation_id"]: row for row in stored}
    for name in sorted(recorded):
        row = recorded[name]
        if found.get(name) != {**dict.fromkeys(EVALUATIONS.schema.names), **row}:
            yield Finding(
                title_of(link),
                f"the {row['metric']} of {row['task']} on {row['split']} in the table is not the one that was recorded",
                _TABLES,
            )
    if rows_digest(link["facts"]["rows"]) != link["content_digest"]:
        yield Finding(title_of(link), "the scores in its record are not those that it was made with", _AGAIN)


def promotion_problems(tables: LanceTables, model: str, champion: int | None) -> Iterator[Finding]:
    """Whether the decisions about a model form one chain, and its champion is the one decided last."""
    ref = tables.head(PROMOTIONS.table)
    rows = tables.read(ref, filter=f"model = {sql_quote(model)}").to_pylist() if ref else []
    history: list[Decision] = []
    for place, row in enumerate(sorted(rows, key=lambda row: int(row["sequence"])), start=1):
        document = {
            **{key: row[key] for key in ("action", "version", "previous_version", "forced", "reason")},
            "rule": json.loads(row["rule"]),
            "evidence": json.loads(row["evidence"]),
        }
        before = history[-1].promotion_id if history else None
        if row["sequence"] != place or decision_id(before, document) != row["promotion_id"]:
            yield Finding(
                f"promotions of {model}",
                f"decision {row['sequence']} does not follow from the one before it: one was edited, added or removed",
                _TABLES,
            )
            return
        history.append(decision_of(row))
    stands = standing(history)
    decided = stands.version if stands is not None else None
    if (history or champion is not None) and decided != champion:
        yield Finding(
            f"{model}@champion",
            f"the alias points to {_version(champion)}, and what was decided last is {_version(decided)}",
            f"Say which one it is to be: sultana promote {model}/VERSION",
        )


def retraction_problems(tables: LanceTables) -> Iterator[Finding]:
    """Whether the decisions about what may be trained on form one chain."""
    broken = broken_link(read_decisions(tables))
    if broken is not None:
        yield Finding(
            "retractions",
            f"decision {broken} does not follow from the one before it: one was edited, added or removed",
            _TABLES,
        )


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"


def _among(
    tables: LanceTables, ref: TableRef, key: str, wanted: Iterable[str], columns: list[str] | None
) -> Iterator[dict[str, Any]]:
    values = pa.array(sorted(wanted), pa.string())
    for batch in tables.batches(ref, columns=columns):
        yield from batch.filter(pc.is_in(batch[key], value_set=values)).to_pylist()


def explained(where: str, problems: Iterator[Finding]) -> list[Finding]:
    """All of them; where a table cannot be read, that is the problem."""
    found: list[Finding] = []
    try:
        found.extend(problems)
    except SultanaError as error:
        found.append(Finding(where, error.problem, error.remedy))
    return found
