"""A small data folder with everything in it that can be damaged: tables of several versions, a registered model, a
Dagster instance with a run and materializations. Made once and copied back before each test.
"""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pyarrow as pa

from assets.materialized import LINEAGE
from assets.records import Record
from orchestration.instance import open_instance
from resources.commits import Commit
from resources.mlflow_moved import move_store
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables
from resources.tracking import InputTable, PublishedModel, Tracking

NUMBERS = Record(
    "numbers", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
)
WORDS = Record(
    "words", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string())])
)
MODEL = "small"


@dg.job
def nothing_job() -> None:
    """A job for runs of which only the record is needed."""


def put(tables: LanceTables, key: str, mode: str = "append", rows: int = 200) -> TableRef:
    """A version of NUMBERS, acknowledged."""
    table = pa.table(
        {"id": [f"{key}-{place}" for place in range(rows)], "v": list(range(rows))}, schema=NUMBERS.schema
    )
    return tables.write(NUMBERS, table, mode=mode, provenance=Provenance("run", "numbers", key))  # type: ignore[arg-type]


def publish(tracking: Tracking, files: Path, key: str = "first") -> PublishedModel:
    """A registered version of the files."""
    return tracking.publish(
        name=MODEL,
        idempotency_key=key,
        files=files,
        parameters={"rank": 8},
        step_metrics=[{"step": 0, "loss": 2.0}],
        inputs=[InputTable("numbers", "file:///numbers.lance", 1, "d" * 64, 200)],
        tags={"dagster/run_id": "run"},
        aliases=["candidate"],
    )


def materialized(instance: dg.DagsterInstance, ref: TableRef) -> None:
    """Tell Dagster of a version, as a materialization does."""
    record = {
        "tables": {ref.table: ref.to_json()},
        "upstream": {},
        "facts": {},
        "made_by_run": "run",
        "inputs_digest": "0" * 64,
    }
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            ref.table,
            metadata={LINEAGE: dg.MetadataValue.json(record)},
            tags={"dagster/data_version": ref.digest},
        )
    )


def make(data: Path) -> None:
    """The data folder, whole and private."""
    data.mkdir(parents=True, mode=0o700)
    tables = LanceTables(data / "lance")
    refs = [put(tables, "a", "overwrite"), put(tables, "b"), put(tables, "c", "upsert")]
    words = pa.table({"id": ["x", "y"], "text": ["word " * 50, "other " * 50]}, schema=WORDS.schema)
    refs.append(tables.write(WORDS, words, mode="overwrite", provenance=Provenance("run", "words", "words")))
    files = data / "tmp" / "files"
    files.mkdir(parents=True)
    (files / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    (files / "MLmodel").write_text("flavors: {}\n")
    publish(Tracking(None, data / "mlflow"), files)
    shutil.rmtree(data / "tmp")
    with open_instance(data) as instance:
        instance.create_run_for_job(nothing_job, status=dg.DagsterRunStatus.SUCCESS)
        for ref in refs:
            materialized(instance, ref)
    data.chmod(0o700)


def copied(whole: Path, to: Path) -> Path:
    """A copy of a data folder at another place, to which MLflow's own paths are brought."""
    shutil.copytree(whole, to, symlinks=True)
    move_store(to / "mlflow" / "mlflow.db", whole, to)
    return to


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Every file that has content of its own, with its hash: locks and SQLite's databases are not told byte by byte."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not path.name.endswith((".lock", ".db", ".sqlite", "-wal", "-shm"))
    }


def commits(data: Path) -> list[Commit]:
    log = LanceTables(data / "lance").commits
    return [commit for table in log.tables() for commit in log.history(table)]


def acknowledged(data: Path, registry: bool = True) -> dict[str, str]:
    """What must never change: the log, the files of each acknowledged version, and those of each registered one.

    Without `registry` MLflow is not opened: it keeps connections to a database for as long as the process lives.
    """
    log = LanceTables(data / "lance").commits
    found = {f"commit {one.sequence}": one.hash for one in commits(data)}
    for commit in commits(data):
        for file in log.files(commit):
            path = data / "lance" / f"{commit.table}.lance" / file.path
            found[f"{commit.table}/{file.path}"] = sha256(path)
    tracking = Tracking(None, data / "mlflow")
    for version in tracking.versions(MODEL) if registry else ():
        with tracking.stored(MODEL, int(version.version)) as folder:
            found |= {f"model {version.version} {name}": value for name, value in tree(folder).items()}
        found[f"tags {version.version}"] = repr(sorted(version.tags.items()))
    return found


def sql(database: Path, statement: str) -> None:
    """Run a statement past everything."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(statement)
