"""`sultana audit --verify`: every hash behind a registered version recomputed from stored bytes.

Three stores hold the record, and each is held against the others: the tables' roots in Dagster's event log, the
chain's hash in MLflow, the models' files against MLflow's tags. Whoever changes one of them shows.
"""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.instructions.erasures import erasure_of
from assets.lineage.audit import verification as check
from assets.lineage.manifest import Chain, table_of
from assets.lineage.signing import signature_problem, trusted_key
from assets.records import ERASURES, EVALUATION_ANSWERS, EVALUATIONS, PROMOTIONS, RETRACTIONS
from orchestration.chains import RegisteredLineage, read_chain, signature_of, stored_manifest
from orchestration.registered import Registered, made_for
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.findings import Finding
from resources.model_flavor import open_base, recorded_base
from resources.progress import track
from resources.reclaimed import check_reclaimed
from resources.repaired import check_repaired
from resources.rewritten import check_rewritten
from resources.table_refs import TableRef
from resources.table_verification import verify_version
from resources.tables import LanceTables
from resources.tracking import CHAMPION
from resources.tracking_checks import examine_version

if TYPE_CHECKING:
    from resources.tracking import Tracking

_MODEL = "Restore MLflow's database and artifacts from a backup, or publish the checkpoint again"


def verify(
    instance: dg.DagsterInstance,
    tracking: "Tracking",
    tables: LanceTables,
    model: Registered,
    chain: Chain,
    told_by: str,
    say: Any,
    every_row: bool = False,
) -> tuple[dict[str, Any], RegisteredLineage | None]:
    """What was looked at, and every problem found, as JSON values; `sound` where there is none. And the lineage.

    Nothing is read from a table whose files are damaged: where one is, there is no lineage. With `every_row` rows are
    hashed even where their files are those that the chain names. `say` takes lines about progress. Nothing is changed.
    """
    began = time.monotonic()
    problems: list[Finding] = []
    evaluations = [one.record for one in made_for(instance, "evaluation", model)[:1]]
    log = tables.commits
    chains = (log.check(), check_reclaimed(log), check_rewritten(log), check_repaired(log))
    for problem in filter(None, chains):
        problems.append(Finding(tables.commits.path.name, problem, "Restore the commit log from a backup"))
    looked_at = list(_tables(tables, chain, evaluations, problems, say, every_row))
    lineage = None
    if not problems:
        try:
            lineage = read_chain(tables, model, chain, told_by)
        except SultanaError as error:
            problems.append(Finding("lineage", error.problem, error.remedy))
    problems += check.explained("chain", check.record_problems(chain))
    if lineage is not None:
        problems += list(_manifest(tracking, lineage))
        if not problems:
            # What the tables hold is known to be what was written: whether that was what the records say.
            curriculum = chain.follow(chain.checkpoint, "curriculum")
            problems += check.explained("ids", check.identity_problems(lineage.backward))
            problems += check.explained("ledger", check.ledger_problems(tables, curriculum))
            for one in evaluations:
                problems += check.explained("evaluation", check.evaluation_problems(tables, one))
        champion = tracking.aliases(model.name).get(CHAMPION)
        problems += check.explained("promotions", check.promotion_problems(tables, model.name, champion))
        problems += check.explained("retractions", check.retraction_problems(tables))
    files, found = examine_version(tracking, model.name, model.version)
    problems += found
    problems += list(_registered(tracking, model, chain))
    if not found:
        problems += list(_base(tracking, model, chain))
    signature = signature_of(model)
    return {
        "sound": not problems,
        "told_by": told_by,
        "manifest_sha256": lineage.sha256 if lineage is not None else None,
        "signed_by": signature["public_key"] if signature else None,
        "tables": looked_at,
        "model_files": files,
        "problems": [{"where": one.table, "problem": one.problem, "remedy": one.remedy} for one in problems],
        "seconds": round(time.monotonic() - began, 2),
    }, lineage


def _tables(
    tables: LanceTables,
    chain: Chain,
    evaluations: list[Mapping[str, Any]],
    problems: list[Finding],
    say: Any,
    every_row: bool,
) -> Iterator[dict[str, Any]]:
    refs = [TableRef.from_json(ref) for one in chain.links for ref in one["tables"].values()]
    refs += [
        table_of(one, record.table) for one in evaluations for record in (EVALUATIONS, EVALUATION_ANSWERS)
    ]
    # No chain names the files of these: only the log that could have been changed with them does.
    heads = [tables.head(record.table) for record in (PROMOTIONS, RETRACTIONS, ERASURES)]
    refs += [ref for ref in heads if ref is not None]
    for ref in dict.fromkeys(refs):
        with track(f"verifying {ref.table} version {ref.version}", None, "rows", say) as progress:
            try:
                erasure = erasure_of(tables, ref.table)
                found = verify_version(tables, ref, progress.advance, erasure, every_row or ref in heads)
            except (SultanaError, OSError, ValueError, RuntimeError) as error:
                # Lance has no error class of its own for what it cannot read.
                problems.append(
                    Finding(
                        f"{ref.table} version {ref.version}",
                        f"it cannot be read: {error}",
                        "Restore the table's folder from a backup",
                    )
                )
                continue
        problems += found.problems
        yield {
            "table": ref.table,
            "version": ref.version,
            "digest": ref.digest,
            "rows": found.rows,
            "hashed_rows": found.hashed_rows,
            "files": found.files,
            "bytes": found.size,
        }


def _manifest(tracking: "Tracking", lineage: RegisteredLineage) -> Iterator[Finding]:
    model, where = lineage.model, "lineage manifest"
    if lineage.registered_sha256 is None:
        return
    if lineage.registered_sha256 != lineage.sha256:
        yield Finding(
            where,
            f"the chain told by {lineage.told_by} has the hash {lineage.sha256}; {model.title} carries "
            f"{lineage.registered_sha256}: the history was rewritten",
            "Restore Dagster's and MLflow's databases from a backup",
        )
    try:
        kept = stored_manifest(tracking, model)
    except SultanaError as error:
        yield Finding(where, error.problem, error.remedy)
    else:
        if kept is None:
            yield Finding(
                where,
                f"{model.title} carries the hash of a manifest that is not with its MLflow run",
                "Materialize lineage_manifest again",
            )
    if problem := signature_problem(lineage.registered_sha256, lineage.signature, trusted_key()):
        yield Finding(where, problem, "Find out who changed it; restore the tags from a backup")


def _registered(tracking: "Tracking", model: Registered, chain: Chain) -> Iterator[Finding]:
    """Whether the registry, and the parameters and curves in MLflow, are what the checkpoint recorded."""
    facts = chain.checkpoint["facts"]
    expected = {
        "name": facts["model"],
        "version": facts["version"],
        "MLflow run": facts["mlflow_run_id"],
        "hash of its files": facts["files_manifest_sha256"],
    }
    found = {
        "name": model.name,
        "version": model.version,
        "MLflow run": model.run_id,
        "hash of its files": model.tags.get("sultana.manifest_sha256"),
    }
    for what, value in expected.items():
        if found[what] != value:
            yield Finding(
                model.title, f"its {what} is {found[what]}; the checkpoint recorded {value}", _MODEL
            )
    logged = facts["logged"]
    now = tracking.logged(facts["mlflow_run_id"], logged["metric_names"])
    for what in ("parameters", "metrics"):
        if now[what] != logged[what]:
            yield Finding(
                model.title, f"the {what} of its MLflow run are not those that were logged with it", _MODEL
            )


def _base(tracking: "Tracking", model: Registered, chain: Chain) -> Iterator[Finding]:
    """Whether the base model, weights and tokenizer, is still the one that was trained; its files are the user's."""
    with tracking.stored(model.name, model.version) as folder:
        recorded = recorded_base(folder)
    fingerprint = chain.checkpoint["facts"]["language_model"]
    if recorded.fingerprint != fingerprint:
        yield Finding(
            model.title,
            f"its files name the base model {recorded.fingerprint}; the checkpoint recorded {fingerprint}",
            _MODEL,
        )
    try:
        open_base(recorded, Storage().path("models"))
    except SultanaError as error:
        yield Finding("base model", error.problem, error.remedy)
