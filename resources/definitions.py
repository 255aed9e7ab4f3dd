"""The Dagster face of what is plugged in: data folder, registry, language model, embedder and compute.

Each class holds settings only; `open` gives the plain Python object that does the work, imported when
it is first used, so that loading definitions stays quick.
"""

import functools
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from resources.environment import apply_safe_defaults, die_with_parent
from resources.table_place import TABLES_URI
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.compute.boundary import Compute
    from resources.embedder import SentenceEmbedder
    from resources.language_model import LanguageModel
    from resources.tracking import Tracking

PROJECT = Path(__file__).resolve().parent.parent
TRACKING_URI = "SULTANA_TRACKING_URI"
"""The environment variable with the MLflow store of a whole deployment."""


def data_folder() -> Path:
    """Where Sultana keeps everything it makes: `SULTANA_DATA`, else `data/` in the project."""
    return Path(os.environ.get("SULTANA_DATA") or PROJECT / "data").expanduser().resolve()


class Storage(dg.ConfigurableResource):
    """The data folder: Lance tables, model files, checkpoints and manifests."""

    folder: str = Field(
        default="", description="Data folder. Empty: SULTANA_DATA, else data/ in the project."
    )
    tables_uri: str = Field(
        default="",
        max_length=512,
        description="Where the Lance tables lie: s3://BUCKET/PREFIX in an S3-compatible object store (needs "
        "`sultana[s3]`; credentials and endpoint by AWS's own variables). Set before the first table is made. Empty: "
        "SULTANA_TABLES_URI, else as the commit log has recorded, at first the data folder.",
    )

    def path(self, *parts: str) -> Path:
        """A folder inside the data folder, made when missing."""
        root = Path(self.folder).expanduser().resolve() if self.folder else data_folder()
        path = root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """In the process of a step: it has safe defaults, and ends with its run.

        Every asset, check and op with a process of its own has this resource; nothing can be written without it.
        """
        apply_safe_defaults()
        die_with_parent()

    def tables(self, fence: Callable[[], None] | None = None, *, lock_timeout: float = 600.0) -> LanceTables:
        """The Lance tables. `fence` raises when the caller's run has ended; it is asked before each commit.

        Raises SultanaError where they are said to lie elsewhere than they do.
        """
        uri = self.tables_uri or os.environ.get(TABLES_URI) or ""
        return LanceTables(self.path("lance"), fence=fence, lock_timeout=lock_timeout, uri=uri)


class NoValues(dg.ConfigurableIOManager):
    """Refuses to store Python values: assets exchange Lance versions, so that nothing is ever pickled."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Raises TypeError: an asset returned a value."""
        raise TypeError(
            f"{context.asset_key.to_user_string()} returned a value; write a table and return its version"
        )

    def load_input(self, context: dg.InputContext) -> object:
        """Raises TypeError: an asset asked for a value."""
        raise TypeError(
            f"{context.asset_key.to_user_string()} is no value; read the table that its record names"
        )


class ModelRegistry(dg.ConfigurableResource):
    """MLflow: where runs are tracked and checkpoints registered."""

    tracking_uri: str = Field(
        default="",
        description="MLflow tracking URI, without a password. Empty: SULTANA_TRACKING_URI, else SQLite in the data "
        "folder. With a database the artifacts lie in the data folder.",
    )
    artifacts_uri: str = Field(
        default="",
        max_length=512,
        description="Where the artifacts of a new experiment lie: s3://BUCKET/PREFIX in an S3-compatible object store "
        "(needs `sultana[s3]`). Empty: SULTANA_ARTIFACTS_URI, else the data folder.",
    )
    experiment: str = Field(default="sultana", description="MLflow experiment that runs are filed under.")
    registered_model: str = Field(
        default="sultana", description="Name that checkpoints are registered under."
    )

    def open(self, storage: Storage, fence: Callable[[], None] | None = None) -> "Tracking":
        """The tracking store, initialised on first use. `fence` is as that of `Storage.tables`."""
        from resources.tracking import ARTIFACTS_URI, Tracking

        uri = self.tracking_uri or os.environ.get(TRACKING_URI) or None
        return Tracking(
            uri,
            storage.path("mlflow"),
            experiment=self.experiment,
            fence=fence,
            artifacts_uri=self.artifacts_uri or os.environ.get(ARTIFACTS_URI) or "",
        )


class LanguageModelSetting(dg.ConfigurableResource):
    """The language model that is fine-tuned."""

    model: str = Field(
        default="embedded",
        description="'embedded' (SmolLM2-135M-Instruct), a local folder, or a Hugging Face model id.",
    )
    revision: str = Field(default="", description="Commit of a Hugging Face model; required with a model id.")
    dtype: str = Field(default="auto", description="auto, float32 or bfloat16.")

    def open(self, storage: Storage) -> "LanguageModel":
        """The language model; nothing is loaded yet."""
        return _language_model(self.model, self.revision or None, storage.path("models"), self.dtype)


class EmbedderSetting(dg.ConfigurableResource):
    """The sentence embedder behind clusters and diversity."""

    model: str = Field(
        default="embedded",
        description="'embedded' (all-MiniLM-L6-v2), a local folder, or a Hugging Face model id.",
    )
    revision: str = Field(default="", description="Commit of a Hugging Face model; required with a model id.")
    dtype: str = Field(default="auto", description="auto, float32 or bfloat16.")

    def open(self, storage: Storage) -> "SentenceEmbedder":
        """The embedder; nothing is loaded yet."""
        return _embedder(self.model, self.revision or None, self.dtype)


class Engine(StrEnum):
    """Where the rows of a stage are worked on."""

    local = "local"
    ray = "ray"


class ComputeSetting(dg.ConfigurableResource):
    """Where stages work on rows: in their own process, or on the workers of a Ray cluster. Results are the same."""

    engine: Engine = Field(
        default=Engine.local,
        description="local (this machine) or ray (a Ray cluster; needs `sultana[ray]` on every node).",
    )
    address: str = Field(
        default="",
        max_length=200,
        description="host:port of the Ray cluster's head. Empty: RAY_ADDRESS, else the one that runs on this machine.",
    )
    workers: int = Field(
        default=0, ge=0, le=4096, description="Workers on Ray; 0: as many as its nodes have room for."
    )
    cpus_per_worker: float = Field(
        default=1.0, ge=0.1, le=1024, description="CPU cores that a worker on Ray takes."
    )
    gpus_per_worker: float = Field(default=0.0, ge=0, le=64, description="GPUs that a worker on Ray takes.")
    wait_seconds: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="Longest wait, in seconds, for a first worker on Ray to start.",
    )
    shared_folder: str = Field(
        default="",
        pattern="^(/.*)?$",
        max_length=4096,
        description="Folder that this machine and all nodes of the Ray cluster see at the same path, where trainings "
        "by several processes lie until they are published. Empty: the data folder, which all nodes see then.",
    )

    def training_folder(self, storage: Storage, processes: int, name: str) -> Path:
        """The folder of a training by `processes` processes, made when missing."""
        if self.engine is Engine.local or processes == 1 or not self.shared_folder:
            return storage.path("checkpoints", name)
        folder = Path(self.shared_folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def open(self) -> "Compute":
        """The engine; a cluster is looked for when it is first used."""
        if self.engine is Engine.local:
            from resources.compute.this_machine import THIS_MACHINE

            return THIS_MACHINE
        from resources.compute.ray_cluster import RayCluster

        return RayCluster(
            address=self.address,
            count=self.workers,
            cpus=self.cpus_per_worker,
            gpus=self.gpus_per_worker,
            wait_seconds=self.wait_seconds,
        )


# One object per process and setting: the files of a model are hashed once, not once per asset.
@functools.cache
def _language_model(model: str, revision: str | None, folder: Path, dtype: str) -> "LanguageModel":
    from resources.language_model import LanguageModel

    return LanguageModel(model, revision=revision, folder=folder, dtype=dtype)


@functools.cache
def _embedder(model: str, revision: str | None, dtype: str) -> "SentenceEmbedder":
    from resources.embedder import SentenceEmbedder

    return SentenceEmbedder(model, revision=revision, dtype=dtype)
