"""The single steps of `Tracking.publish`, each of which first looks for what an earlier attempt left."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.errors import SultanaError
from resources.files import MANIFEST, folder_manifest, sync_filesystem
from resources.mlflow_store import exists_already
from resources.model_flavor import MODEL_META, UPLOADING
from resources.text import check_name

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

IDEMPOTENCY_TAG = "sultana.idempotency_key"
MANIFEST_TAG = "sultana.manifest_sha256"
PARAMETERS_FILE = "parameters.json"
# MLflow's limits: longer values it cuts or refuses, larger batches it refuses.
LONGEST_PARAMETER = 6000
_PARAMETERS_PER_BATCH = 100
METRICS_PER_BATCH = 1000


@dataclass(frozen=True)
class InputTable:
    """A table version that a model was made from; `digest` is that of its content, `schema` its columns."""

    name: str
    uri: str
    version: int
    digest: str
    rows: int
    schema: "pa.Schema | None" = None


@dataclass(frozen=True)
class PublishedModel:
    """A registered model version. `source` is MLflow's address of its files."""

    run_id: str
    model_name: str
    version: int
    manifest_sha256: str
    source: str


def manifest_bytes(files: Mapping[str, str]) -> bytes:
    """The content of MANIFEST.json: the SHA-256 of every file, sorted by name."""
    return json.dumps({"files": dict(files)}, indent=1, sort_keys=True).encode()


def stored_files(folder: Path) -> dict[str, str]:
    """`folder_manifest` of a stored model, without what MLflow itself adds to one where it loads it."""
    return {name: value for name, value in folder_manifest(folder).items() if name != MODEL_META}


def compare_files(expected: Mapping[str, str], found: Mapping[str, str], what: str) -> None:
    """Raises SultanaError naming the first file whose hash differs."""
    for name, state in different_files(expected, found).items():
        raise SultanaError(
            f"The file {name} of {what} {state}: it does not match what was published",
            "Publish the checkpoint again; if that does not help, restore the artifacts from a backup",
            code="published-file-differs",
        )


def different_files(expected: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """What became of each file whose hash is another one: name -> in words, by name."""
    return {
        name: "is missing" if name not in found else "was added" if name not in expected else "was changed"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    }


def experiment_id(client: "MlflowClient", name: str, artifacts: Path | str | None) -> str:
    """The id of the experiment, created where it is missing; its artifacts lie below `artifacts`, None on a server."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    try:
        return str(
            client.create_experiment(name, artifact_location=f"{artifacts}/{name}" if artifacts else None)
        )
    except MlflowException as error:
        if not exists_already(error):
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


def find_or_create_run(
    client: "MlflowClient", experiment: str, key: str, name: str, tags: Mapping[str, str]
) -> "Run":
    """The run that carries this key."""
    found = client.search_runs(
        [experiment], filter_string=f"tags.`{IDEMPOTENCY_TAG}` = '{key}'", max_results=1
    )
    if found:
        return found[0]
    return client.create_run(experiment, tags={**tags, IDEMPOTENCY_TAG: key}, run_name=name)


def log_training(
    client: "MlflowClient",
    run: "Run",
    parameters: Mapping[str, Any],
    step_metrics: Sequence[Mapping[str, float]],
    inputs: Sequence[InputTable],
    artifacts: Mapping[str, bytes],
) -> None:
    """Log parameters, metrics, inputs and artifacts. Logging the same again changes nothing."""
    from mlflow.entities import Metric, Param

    run_id = run.info.run_id
    texts = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
    }
    if any(len(text) > LONGEST_PARAMETER for text in texts.values()):
        client.log_dict(run_id, dict(parameters), PARAMETERS_FILE)
    entries = [
        Param(name, text if len(text) <= LONGEST_PARAMETER else f"see the artifact {PARAMETERS_FILE}")
        for name, text in texts.items()
    ]
    for start in range(0, len(entries), _PARAMETERS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + _PARAMETERS_PER_BATCH])
    # One time for all: MLflow takes a point with the same name, step, value and time for the same point.
    metrics = [
        Metric(name, float(value), run.info.start_time, int(row["step"]))
        for row in step_metrics
        for name, value in row.items()
        if name != "step"
    ]
    for start in range(0, len(metrics), METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_BATCH])
    if inputs:
        import mlflow.data  # noqa: F401 - first, for it loads lance_source itself, by its entry point

        from resources.lance_source import dataset_input

        client.log_inputs(run_id, datasets=[dataset_input(table) for table in inputs])
    log_artifacts(client, run_id, artifacts)


def log_artifacts(client: "MlflowClient", run_id: str, artifacts: Mapping[str, bytes]) -> None:
    """Store files of a run: relative POSIX path -> content. One of the same path is replaced."""
    if not artifacts:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in artifacts.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(run_id, folder)


def log_tables(
    client: "MlflowClient", run_id: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Store tables of a run as `mlflow.load_table` reads them: path ending in .json -> rows.

    Unlike MLflow's own function it replaces a table of the same path, so that a repetition doubles no row.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    artifacts = {}
    for path, rows in tables.items():
        columns = list(rows[0]) if rows else []
        document = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
        artifacts[path] = json.dumps(document).encode()
    log_artifacts(client, run_id, artifacts)
    named = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    named += [one for path in tables if (one := {"path": path, "type": "table"}) not in named]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(named))


def upload_model(
    client: "MlflowClient",
    run: "Run",
    key: str,
    name: str,
    files: Path,
    manifest: Mapping[str, str],
    local: bool,
) -> "LoggedModel":
    """Store the files as a logged model, read back and hashed, MANIFEST.json last."""
    import mlflow
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    experiment = run.info.experiment_id
    # Other files under the same key, left by an attempt that was interrupted, are another model.
    model_key = hashlib.sha256(f"{key}\0".encode() + manifest_bytes(manifest)).hexdigest()
    condition = f"tags.`{IDEMPOTENCY_TAG}` = '{model_key}'"
    found = client.search_logged_models([experiment], filter_string=condition, max_results=1)
    if found:
        model = found[0]
    else:
        model = client.create_logged_model(
            experiment, name=name, source_run_id=run.info.run_id, tags={IDEMPOTENCY_TAG: model_key}
        )
    client.log_model_artifacts(model.model_id, str(files))
    with tempfile.TemporaryDirectory() as folder:
        # In place where the artifacts are local; a server's are copied to where they can be hashed.
        destination = None if local else folder
        stored = Path(mlflow.artifacts.download_artifacts(model.model_uri, dst_path=destination))
        if local:
            _remove_torn_uploads(stored)
        compare_files(manifest, stored_files(stored), f"the model {name}, read back after storing,")
        path = Path(folder) / MANIFEST
        path.write_bytes(manifest_bytes(manifest))
        client.log_model_artifact(model.model_id, str(path))
        if local:
            sync_filesystem(stored)
    if model.status != LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    # A model that was stored and removed before (`sultana doctor --repair`) stays among the outputs.
    known = {one.model_id for one in client.get_run(run.info.run_id).outputs.model_outputs}
    if model.model_id not in known:
        client.log_outputs(run.info.run_id, models=[LoggedModelOutput(model.model_id, 0)])
    return model


def _remove_torn_uploads(folder: Path) -> None:
    """Remove what MLflow was writing under a name of its own when an earlier attempt was killed."""
    for path in folder.rglob(f"{UPLOADING}*"):
        path.unlink()


def all_versions(client: "MlflowClient", name: str) -> list["ModelVersion"]:
    """Every version of a registered model, the oldest first. Raises SultanaError for a name that is none."""
    check_name(name, "Model")  # it stands in a filter
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def find_version(client: "MlflowClient", name: str, key: str) -> "ModelVersion | None":
    """The version of `name` that carries this key."""
    for version in all_versions(client, name):
        if version.tags.get(IDEMPOTENCY_TAG) == key:
            return version
    return None


def register(
    client: "MlflowClient", name: str, run: "Run", model: "LoggedModel", tags: Mapping[str, str]
) -> "ModelVersion":
    """Create the registered model where it is missing, and a version of it."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if not exists_already(error):
            raise
    # A server accepts a model's address only beside the model's id.
    return client.create_model_version(
        name, model.model_uri, run_id=run.info.run_id, tags=dict(tags), model_id=model.model_id
    )
