"""Read-only checks of MLflow's store, for `sultana doctor`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from resources.errors import SultanaError
from resources.files import MANIFEST, sha256_file
from resources.findings import Finding
from resources.publication_checks import check_publications
from resources.publishing import MANIFEST_TAG, different_files, stored_files
from resources.sqlite_files import integrity
from resources.tracking_repairs import is_half_made, remove_half_made

if TYPE_CHECKING:
    from resources.tracking import Tracking

_RESTORE_DATABASE = "Restore the database from a backup"
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
    if tracking.database is not None:
        if not tracking.database.exists():
            return _missing(tracking)
        if found := _check_database(tracking):
            return [found]
    with tracking.client() as client:
        names = [model.name for model in client.search_registered_models(max_results=1000)]
    findings = check_publications(tracking)
    for name in names:
        for version in tracking.versions(name):
            if MANIFEST_TAG not in version.tags:  # registered by somebody else
                continue
            try:
                base = tracking.verified_base(name, int(version.version))
            except SultanaError as error:
                findings.append(Finding(name, error.problem, error.remedy, "model-damaged"))
                continue
            if base is not None and not Path(base).is_dir():
                findings.append(
                    Finding(
                        name,
                        f"version {version.version} was trained from the base model in {base}, which is gone: "
                        "MLflow cannot load it by its name",
                        "Put the base model back (`sultana generate` or any run converts the embedded one "
                        "again), or load it with mlflow.transformers.load_model(…, base_model_path=FOLDER)",
                        "base-model-gone",
                    )
                )
    return findings


def _missing(tracking: "Tracking") -> list[Finding]:
    stored = sorted(tracking.folder.glob("artifacts/*/models/*"))
    if not stored:
        return []
    problem = f"the database {tracking.database} is gone, and {len(stored)} models lie beside where it was"
    return [Finding("mlflow", problem, _RESTORE_DATABASE, "registry-gone")]


def _check_database(tracking: "Tracking") -> Finding | None:
    database = tracking.database
    assert database is not None
    if is_half_made(database) and not any(tracking.folder.glob("artifacts/*/*")):
        return Finding(
            "mlflow",
            f"{database} was not made to its end, and nothing is in it",
            "Remove it: it is made again on first use",
            "registry-half-made",
            repair=remove_half_made(tracking),
        )
    verdict = integrity(database)
    if verdict != "ok":
        return Finding("mlflow", f"{database}: {verdict}", _RESTORE_DATABASE, "registry-damaged")
    if is_half_made(database):
        problem = f"{database} holds no model, and some lie beside it: it is not the one that they belong to"
        return Finding("mlflow", problem, _RESTORE_DATABASE, "registry-damaged")
    return None
