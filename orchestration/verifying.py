"""`sultana audit --verify`: every hash behind a registered version recomputed from stored bytes.

Three stores hold the record, and each is held against the others: the tables' roots in Dagster's event log, the
chain's hash in MLflow, the models' files against MLflow's tags. Whoever changes one of them shows.
"""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.instructions.erasures import erased_rows
from assets.lineage.audit import verification as check
from assets.lineage.manifest import table_of
from assets.lineage.signing import signature_problem, trusted_key
from assets.records import EVALUATION_ANSWERS, EVALUATIONS, PROMOTIONS
from orchestration.chains import RegisteredLineage, stored_manifest
from orchestration.registered import made_for
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.findings import Finding
from resources.model_flavor import open_base, recorded_base
from resources.progress import track
from resources.reclaimed import check_reclaimed
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
    lineage: RegisteredLineage,
    say: Any,
) -> dict[str, Any]:
    """What was looked at, and every problem found, as JSON values; `sound` where there is none.

    `say` takes lines about progress. Nothing is changed.
    """
    began = time.monotonic()
    model = lineage.model
    problems: list[Finding] = []
    evaluations = [one.record for one in made_for(instance, "evaluation", model)[:1]]
    log = tables.commits
    for problem in filter(None, (log.check(), check_reclaimed(log), check_rewritten(log))):
        problems.append(Finding(tables.commits.path.name, problem, "Restore the commit log from a backup"))
    looked_at = list(_tables(tables, lineage, evaluations, problems, say))
    problems += check.explained("chain", check.record_problems(lineage.chain))
    problems += list(_manifest(tracking, lineage))
    if not problems:
        # What the tables hold is known to be what was written: whether that was what the records say.
        curriculum = lineage.chain.follow(lineage.chain.checkpoint, "curriculum")
        problems += check.explained("ids", check.identity_problems(lineage.backward))
        problems += check.explained("ledger", check.ledger_problems(tables, curriculum))
        for one in evaluations:
            problems += check.explained("evaluation", check.evaluation_problems(tables, one))
    champion = tracking.aliases(model.name).get(CHAMPION)
    problems += check.explained("promotions", check.promotion_problems(tables, model.name, champion))
    files, found = examine_version(tracking, model.name, model.version)
    problems += found
    problems += list(_registered(tracking, lineage))
    if not found:
        problems += list(_base(tracking, lineage))
    return {
        "sound": not problems,
        "told_by": lineage.told_by,
        "manifest_sha256": lineage.sha256,
        "signed_by": lineage.signature["public_key"] if lineage.signature else None,
        "tables": looked_at,
        "model_files": files,
        "problems": [{"where": one.table, "problem": one.problem, "remedy": one.remedy} for one in problems],
        "seconds": round(time.monotonic() - began, 2),
    }


def _tables(
    tables: LanceTables,
    lineage: RegisteredLineage,
    evaluations: list[Mapping[str, Any]],
    problems: list[Finding],
    say: Any,
) -> Iterator[dict[str, Any]]:
    refs = [TableRef.from_json(ref) for one in lineage.chain.links for ref in one["tables"].values()]
    refs += [
        table_of(one, record.table) for one in evaluations for record in (EVALUATIONS, EVALUATION_ANSWERS)
    ]
    if (decisions := tables.head(PROMOTIONS.table)) is not None:
        refs.append(decisions)
    for ref in dict.fromkeys(refs):
        with track(f"verifying {ref.table} version {ref.version}", None, "rows", say) as progress:
            try:
                found = verify_version(tables, ref, progress.advance, erased_rows(tables, ref.table))
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


def _registered(tracking: "Tracking", lineage: RegisteredLineage) -> Iterator[Finding]:
    """Whether the registry, and the parameters and curves in MLflow, are what the checkpoint recorded."""
    model, facts = lineage.model, lineage.chain.checkpoint["facts"]
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


def _base(tracking: "Tracking", lineage: RegisteredLineage) -> Iterator[Finding]:
    """Whether the base model, weights and tokenizer, is still the one that was trained; its files are the user's."""
    model = lineage.model
    with tracking.stored(model.name, model.version) as folder:
        recorded = recorded_base(folder)
    fingerprint = lineage.chain.checkpoint["facts"]["language_model"]
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
