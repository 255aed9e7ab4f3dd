"""MLflow through one publishing function, so that an alias never points at anything unverified.

MLflow registers a torn upload, or a path that does not exist, as READY. So `publish` uploads, reads
back and hashes what was stored, writes MANIFEST.json (the hash of every file) last, then creates the
version, verifies once more, and only then sets an alias. Each step first looks for what an
interrupted attempt with the same idempotency key left, and goes on from there.
"""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resources.addresses import DATABASES, check_address, scheme
from resources.errors import SultanaError
from resources.files import (
    MANIFEST,
    exclusive_lock,
    folder_manifest,
    make_folder,
    publish_folder,
    sha256_file,
    sync_filesystem,
)
from resources.findings import Finding
from resources.mlflow_store import (
    artifacts_explained,
    connect,
    create_database,
    create_tables,
    mlflow_explained,
    sqlite_path,
)
from resources.model_flavor import MODEL_META, base_folder
from resources.object_folder import ObjectFolder
from resources.object_store import SCHEME, check_object_uri
from resources.publishing import (
    IDEMPOTENCY_TAG,
    MANIFEST_TAG,
    METRICS_PER_BATCH,
    InputTable,
    PublishedModel,
    all_versions,
    compare_files,
    experiment_id,
    find_or_create_run,
    find_version,
    log_artifacts,
    log_tables,
    log_training,
    manifest_bytes,
    register,
    stored_files,
    upload_model,
)
from resources.text import check_name, escape_terminal

__all__ = ["CANDIDATE", "CHAMPION", "InputTable", "PublishedModel", "Tracking", "check_alias"]

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ARTIFACTS_URI = "SULTANA_ARTIFACTS_URI"
"""The environment variable with the place of the artifacts of a whole deployment."""

CANDIDATE = "candidate"
"""The alias of the newest version."""
CHAMPION = "champion"
"""The alias of the version that was promoted last."""
_ALIAS = re.compile(r"(?!latest$)(?![vV][0-9]+$)[A-Za-z0-9_-]{1,64}")


def check_alias(alias: str) -> str:
    """Return `alias` if MLflow accepts it; raises SultanaError otherwise."""
    if not _ALIAS.fullmatch(alias):
        raise SultanaError(
            f'"{escape_terminal(alias, 80)}" is not a legal alias',
            "Use letters, digits, '_' and '-'; not 'latest', and not 'v' followed by a number",
            code="name-invalid",
        )
    return alias


class Tracking:
    """MLflow runs, models and the registry, at `tracking_uri` or in a SQLite database in `folder`.

    With a database, whichever it is, artifacts lie in `folder/artifacts`, or in an object store: as `artifacts_uri`
    (`s3://BUCKET/PREFIX`) says when the experiment is made. A server keeps its own. Nothing is imported or created
    before the first use. `fence` is called before anything is written and raises where this
    process may not write (any more). Raises SultanaError where the address cannot be used.
    """

    def __init__(
        self,
        tracking_uri: str | None,
        folder: Path,
        experiment: str = "sultana",
        fence: Callable[[], None] | None = None,
        artifacts_uri: str = "",
    ) -> None:
        self.folder = Path(folder).resolve()
        self.uri = check_address(
            tracking_uri or f"sqlite:///{self.folder / 'mlflow.db'}", "the MLflow tracking URI"
        )
        self.experiment = check_name(experiment, "Experiment")
        self.database = sqlite_path(self.uri)
        self._artifacts = self.folder / "artifacts" if scheme(self.uri) in DATABASES else None
        self.objects = check_object_uri(artifacts_uri, ARTIFACTS_URI) if artifacts_uri else ""
        if self.objects and self._artifacts is None:
            raise SultanaError(
                f"MLflow is a server, which keeps artifacts where it was told to, and {ARTIFACTS_URI} names a place",
                f"Unset {ARTIFACTS_URI}, and start that server with --default-artifact-root",
                code="settings-conflict",
            )
        self._fence = fence or (lambda: None)
        self._ready = False

    @contextlib.contextmanager
    def client(self) -> Iterator["MlflowClient"]:
        """MLflow's client; its errors leave the block as SultanaError. For reading and for tests."""
        if not self._ready:
            make_folder(self.folder)
            if self.database is not None:
                make_folder(self.database.parent)
                create_database(self.database, self.folder / "artifacts")
            elif self._artifacts is not None:
                create_tables(self.uri, self._artifacts)
        client = connect(self.uri)
        if not self._ready:
            with mlflow_explained(self.uri, self.folder):
                self._settle(client)
            self._ready = True
        with mlflow_explained(self.uri, self.folder), artifacts_explained(self.objects):
            yield client

    def _settle(self, client: "MlflowClient") -> None:
        """Where the artifacts lie: as the experiment says, if there is one. Raises SultanaError against a setting."""
        found = client.get_experiment_by_name(self.experiment) if self._artifacts is not None else None
        if found is not None:
            place = str(found.artifact_location)
            if self.objects and place != f"{self.objects}/{self.experiment}":
                raise SultanaError(
                    f"The experiment {self.experiment} keeps its artifacts in {place}, and {ARTIFACTS_URI} (or "
                    f"resources.registry.config.artifacts_uri) says {self.objects}",
                    "Unset it, or name another experiment: artifacts are not moved",
                    code="artifacts-elsewhere",
                )
            if place.startswith(SCHEME):
                self.objects = place.rpartition("/")[0]
        if self.objects:
            self._artifacts = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator["MlflowClient"]:
        with self.client() as client:
            self._fence()
            yield client

    def publish(
        self,
        *,
        name: str,
        idempotency_key: str,
        files: Path,
        parameters: Mapping[str, Any],
        step_metrics: Sequence[Mapping[str, float]],
        inputs: Sequence[InputTable],
        tags: Mapping[str, str],
        aliases: Sequence[str],
        artifacts: Mapping[str, bytes] = MappingProxyType({}),
        run_name: str | None = None,
    ) -> PublishedModel:
        """Publish the folder `files` as one new version of the registered model `name`.

        Each of `step_metrics` maps metric names to values and has a "step"; `artifacts` are files of the
        run, by relative path; `run_name` is that of the run, without it the model's. Called again with the
        same key it completes what is missing and returns the same version. Raises SultanaError where a name is
        not legal, the key was used for other files, or a stored file differs from its source.
        """
        check_name(name, "Model")
        for alias in aliases:
            check_alias(alias)
        manifest = folder_manifest(files)
        if not manifest:
            raise SultanaError(
                f"{files} holds no file to publish",
                "Give the folder of the saved checkpoint",
                code="publishing-folder-unusable",
            )
        if MODEL_META in manifest:
            raise SultanaError(
                f"{files} holds a file {MODEL_META}, which MLflow writes over when it loads a model",
                "Leave that file out",
                code="publishing-folder-unusable",
            )
        key = hashlib.sha256(f"{name}\0{idempotency_key}".encode()).hexdigest()
        manifest_sha256 = hashlib.sha256(manifest_bytes(manifest)).hexdigest()
        with self.client() as client, exclusive_lock(self.folder / f".publish-{name}.lock", timeout=600.0):
            self._fence()
            version = find_version(client, name, key)
            if version is not None and version.tags.get(MANIFEST_TAG) != manifest_sha256:
                raise SultanaError(
                    f"Version {version.version} of {name} has the same idempotency key and other files",
                    "Include all that determines the files in the key",
                    code="idempotency-key-reused",
                )
            if version is None or not self._is_verified(name, int(version.version)):
                experiment = experiment_id(client, self.experiment, self.objects or self._artifacts)
                run = find_or_create_run(client, experiment, key, run_name or name, tags)
                log_training(client, run, parameters, step_metrics, inputs, artifacts)
                model = upload_model(client, run, key, name, files, manifest, self._artifacts is not None)
                if run.info.status != "FINISHED":
                    client.set_terminated(run.info.run_id, "FINISHED")
                if version is None:
                    self._fence()
                    own = {IDEMPOTENCY_TAG: key, MANIFEST_TAG: manifest_sha256}
                    version = register(client, name, run, model, {**tags, **own})
                self.verify(name, int(version.version))
            for alias in aliases:
                self._fence()
                client.set_registered_model_alias(name, alias, version.version)
            return PublishedModel(
                str(version.run_id), name, int(version.version), manifest_sha256, str(version.source)
            )

    def verify(self, name: str, version: int) -> None:
        """Hash every stored file of a version; SultanaError names the first that differs."""
        self.verified_base(name, version)

    def verified_base(self, name: str, version: int) -> str | None:
        """The same; the folder of the base model that MLflow loads the version's adapter into, if it has one."""
        with self.stored(name, version) as folder:
            self._verify_folder(name, version, folder)
            return base_folder(folder)

    def download(self, name: str, version: int, to: Path) -> Path:
        """Copy a version's files, verified after copying, to the folder `to`, which must not exist."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as place:
            copy = Path(place) / "files"
            with self.stored(name, version) as folder:
                shutil.copytree(folder, copy)
            (copy / MODEL_META).unlink(missing_ok=True)
            self._verify_folder(name, version, copy)
            publish_folder(copy, to)
        return to

    def log_evaluation(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        tables: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
    ) -> None:
        """Add metrics, which have no step, and tables to a run. A table is rows by a path that ends in .json;
        one of the same path is replaced."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._writing() as client:
            entries = [Metric(name, float(value), now, 0) for name, value in metrics.items()]
            for start in range(0, len(entries), METRICS_PER_BATCH):
                client.log_batch(run_id, metrics=entries[start : start + METRICS_PER_BATCH])
            if tables:
                log_tables(client, run_id, tables)
        self._sync()

    def log_artifacts(self, run_id: str, artifacts: Mapping[str, bytes]) -> None:
        """Store files of a run: relative POSIX path -> content. One of the same path is replaced."""
        with self._writing() as client:
            log_artifacts(client, run_id, artifacts)
        self._sync()

    def _sync(self) -> None:
        """Wait until artifacts that lie here are on the disk: MLflow syncs its database and nothing else."""
        if self._artifacts is not None:
            sync_filesystem(self.folder)

    def metric_history(self, run_id: str, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        """(step, value) of metrics of a run, by step; a metric that was not logged has none."""
        with self.client() as client:
            return {
                name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
                for name in names
            }

    def logged(self, run_id: str, metrics: Sequence[str]) -> dict[str, str]:
        """SHA-256 of what a run holds now: `parameters`, and every point of the named `metrics`."""
        with self.client() as client:
            parameters = dict(client.get_run(run_id).data.params)
        found = {"parameters": parameters, "metrics": self.metric_history(run_id, sorted(metrics))}
        return {
            name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
            for name, value in found.items()
        }

    def read_artifact(self, run_id: str, path: str) -> bytes | None:
        """A file of a run, or None where the run has none of that path."""
        import mlflow
        from mlflow.exceptions import MlflowException

        with self.client(), tempfile.TemporaryDirectory() as folder:
            try:
                stored = mlflow.artifacts.download_artifacts(
                    run_id=run_id, artifact_path=path, dst_path=folder
                )
            except (MlflowException, OSError):  # MLflow has no one error for a file that is not there
                if self.objects:
                    ObjectFolder(self.objects).probe()
                return None
            return Path(stored).read_bytes()

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; its idempotency key and manifest hash cannot be changed."""
        if reserved := {IDEMPOTENCY_TAG, MANIFEST_TAG} & tags.keys():
            raise ValueError(f"reserved tags: {sorted(reserved)}")
        with self._writing() as client:
            for tag, value in tags.items():
                client.set_model_version_tag(name, str(version), tag, str(value))

    def describe_version(self, name: str, version: int, text: str) -> None:
        """Set what the registry's page says of a version, in Markdown."""
        with self._writing() as client:
            client.update_model_version(name, str(version), text)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Verify the version, then let the alias point to it."""
        check_alias(alias)
        self.verify(name, version)
        with self._writing() as client:
            client.set_registered_model_alias(name, alias, str(version))

    def remove_alias(self, name: str, alias: str) -> None:
        """Let the alias point to nothing."""
        with self._writing() as client:
            client.delete_registered_model_alias(check_name(name, "Model"), check_alias(alias))

    def versions(self, name: str) -> list["ModelVersion"]:
        """All versions of a registered model, the oldest first; none where the model does not exist."""
        check_name(name, "Model")
        with self.client() as client:
            return all_versions(client, name)

    def models(self) -> list[str]:
        """The names of all registered models, sorted."""
        with self.client() as client:
            return sorted(str(model.name) for model in client.search_registered_models(max_results=1000))

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version of a registered model, which must exist."""
        with self.client() as client:
            found = client.get_registered_model(check_name(name, "Model")).aliases
        return {str(alias): int(version) for alias, version in found.items()}

    def check(self) -> list[Finding]:
        """Look for damage without changing anything: the database, and every published file."""
        from resources.tracking_checks import check_tracking

        return check_tracking(self)

    @contextlib.contextmanager
    def stored(self, name: str, version: int) -> Iterator[Path]:
        """The stored files of a version: in place if they are local, in a temporary folder otherwise."""
        with self.client(), tempfile.TemporaryDirectory() as folder:
            import mlflow

            uri = f"models:/{check_name(name, 'Model')}/{int(version)}"
            destination = folder if self._artifacts is None else None
            yield Path(mlflow.artifacts.download_artifacts(uri, dst_path=destination))

    def _verify_folder(self, name: str, version: int, folder: Path) -> None:
        what = f"{name} version {version}"
        with self.client() as client:
            expected = client.get_model_version(name, str(version)).tags.get(MANIFEST_TAG)
        path = folder / MANIFEST
        if not path.is_file() or sha256_file(path) != expected:
            compare_files({MANIFEST: str(expected)}, {MANIFEST: "other"} if path.is_file() else {}, what)
        compare_files(json.loads(path.read_bytes())["files"], stored_files(folder), what)

    def _is_verified(self, name: str, version: int) -> bool:
        try:
            self.verify(name, version)
        except SultanaError:
            return False
        return True
