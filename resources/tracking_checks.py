"""Read-only checks of MLflow's store, for `sultana doctor`."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import SultanaError
from resources.files import MANIFEST, sha256_file
from resources.findings import Finding
from resources.publishing import IDEMPOTENCY_TAG, MANIFEST_TAG, different_files, stored_files

if TYPE_CHECKING:
    from resources.tracking import Tracking

_RESTORE = "Restore the artifacts from a backup, or publish the checkpoint again"


def examine_version(tracking: "Tracking", name: str, version: int) -> tuple[dict[str, str], list[Finding]]:
    """The hashes of a version's stored files, and every one that is not as it was published."""
    what = f"{name} version {version}"
    with tracking.client() as client:
        expected = client.get_model_version(name, str(version)).tags.get(MANIFEST_TAG)
    with tracking.stored(name, version) as folder:
        try:
            found, path = stored_files(folder), folder / MANIFEST
        except SultanaError as error:
            return {}, [Finding(what, error.problem, error.remedy)]
        if not path.is_file():
            return found, [Finding(what, f"its file {MANIFEST} is missing", _RESTORE)]
        if sha256_file(path) != expected:
            return found, [Finding(what, f"its file {MANIFEST} was changed", _RESTORE)]
        published = json.loads(path.read_bytes())["files"]
    return found, [
        Finding(what, f"its file {file} {state}", _RESTORE)
        for file, state in different_files(published, found).items()
    ]


def check_tracking(tracking: "Tracking") -> list[Finding]:
    """Everything wrong with the database and the published models; nothing is changed."""
    findings = []
    if tracking.database is not None:
        if not tracking.database.exists():
            return []
        uri = f"{tracking.database.as_uri()}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=60.0)) as connection:
                verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.Error as error:
            verdict = str(error)
        if verdict != "ok":
            return [
                Finding("mlflow", f"{tracking.database}: {verdict}", "Restore the database from a backup")
            ]
    with tracking.client() as client:
        names = [model.name for model in client.search_registered_models(max_results=1000)]
        experiment = client.get_experiment_by_name(tracking.experiment)
        unfinished = (
            client.search_runs(
                [experiment.experiment_id],
                filter_string=f"attributes.status = 'RUNNING' and tags.`{IDEMPOTENCY_TAG}` != ''",
            )
            if experiment
            else []
        )
    for run in unfinished:
        problem = f"the publication in run {run.info.run_id} did not finish"
        findings.append(
            Finding(run.info.run_name, problem, "Materialize the checkpoint again: it goes on from there")
        )
    for name in names:
        for version in tracking.versions(name):
            if MANIFEST_TAG not in version.tags:  # registered by somebody else
                continue
            try:
                base = tracking.verified_base(name, int(version.version))
            except SultanaError as error:
                findings.append(Finding(name, error.problem, error.remedy))
                continue
            if base is not None and not Path(base).is_dir():
                findings.append(
                    Finding(
                        name,
                        f"version {version.version} was trained from the base model in {base}, which is gone: "
                        "MLflow cannot load it by its name",
                        "Put the base model back (`sultana generate` or any run converts the embedded one "
                        "again), or load it with mlflow.transformers.load_model(…, base_model_path=FOLDER)",
                    )
                )
    return findings
