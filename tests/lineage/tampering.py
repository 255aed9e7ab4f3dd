"""Ways to change what is stored behind a model, one for each kind of artifact, and how to undo each.

Each takes the data folder and a generator, changes something as somebody would who has the disk, and says by
which words a verification has to name it. Where an attacker would cover his traces (hashes beside the rows, the commit
log), so does the tampering.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assets.records import CURRICULUM, DIVERSITY_CLUSTERS, EVALUATIONS, INSTRUCTIONS, PROMOTIONS
from resources import commits
from resources.row_hashes import HASH_FIELD, ROW_HASH, hash_rows
from resources.table_files import StoredFile, files_digest, stored_file
from resources.table_refs import TableRef
from resources.tables import LanceTables

Generator = np.random.Generator
Words = tuple[str, ...]


@dataclass
class Scene:
    """A data folder in which something is changed, and what undoes it."""

    data: Path
    tables: list[TableRef]  # of the chain and of the evaluation
    artifacts: Path  # of the model version
    run_id: str  # of MLflow
    undo: list[Callable[[], object]] = field(default_factory=list)

    def keep(self, path: Path) -> None:
        """The file will be as it is now."""
        if not path.exists():
            self.undo.append(lambda: path.unlink(missing_ok=True))
            return
        content = path.read_bytes()
        self.undo.append(lambda: path.write_bytes(content))

    def folder(self, table: str) -> Path:
        """The folder of a table."""
        return self.data / "lance" / f"{table}.lance"

    def files(self, ref: TableRef) -> list[Path]:
        """The files of a version."""
        log = LanceTables(self.data / "lance").commits
        commit = next(one for one in log.history(ref.table)[::-1] if one.version == ref.version)
        return [self.folder(ref.table) / one.path for one in log.files(commit)]

    def sql(self, database: Path, statement: str, *values: Any) -> None:
        """Run a statement against an SQLite database whose tables will be as they are now."""
        self.restore_database(database)
        with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            changed = connection.execute(statement, values).rowcount
        assert changed > 0, statement

    def restore_database(self, database: Path) -> None:
        """The content of the database will be what it is now."""
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            copy = sqlite3.connect(":memory:", check_same_thread=False)
            connection.backup(copy)

        def undo() -> None:
            with closing(sqlite3.connect(database, timeout=60)) as connection, closing(copy):
                copy.backup(connection)

        self.undo.append(undo)


@contextmanager
def undone(scene: Scene) -> Iterator[Scene]:
    """Undoes everything at the end, the last first."""
    try:
        yield scene
    finally:
        while scene.undo:
            scene.undo.pop()()


def flip(scene: Scene, path: Path, generator: Generator) -> None:
    """One bit of a file."""
    scene.keep(path)
    content = bytearray(path.read_bytes())
    content[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)


def _table(scene: Scene, generator: Generator) -> TableRef:
    return scene.tables[int(generator.integers(len(scene.tables)))]


def _file(scene: Scene, generator: Generator, below: str) -> tuple[TableRef, Path]:
    ref = _table(scene, generator)
    found = [path for path in scene.files(ref) if path.parent.name == below]
    return ref, found[int(generator.integers(len(found)))]


def bit_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def bit_of_a_table_manifest(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "_versions")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def bit_of_a_transaction(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "_transactions")
    flip(scene, path, generator)
    return ref.table, path.name, "was changed"


def missing_file_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    scene.keep(path)
    path.unlink()
    return ref.table, path.name, "is missing"


def truncated_file_of_rows(scene: Scene, generator: Generator) -> Words:
    ref, path = _file(scene, generator, "data")
    scene.keep(path)
    path.write_bytes(path.read_bytes()[: int(generator.integers(path.stat().st_size))])
    return ref.table, path.name, "were written"


def missing_table(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    folder, aside = scene.folder(ref.table), scene.data / "aside"
    folder.rename(aside)
    scene.undo.append(lambda: aside.rename(folder))
    return ref.table, "is missing"


def moved_tag(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    log = LanceTables(scene.data / "lance").commits
    commit = next(one for one in log.history(ref.table)[::-1] if one.version == ref.version)
    path = scene.folder(ref.table) / "_refs" / "tags" / f"{commit.tag}.json"
    scene.keep(path)
    path.unlink()
    return ref.table, commit.tag


def rewrite(
    scene: Scene,
    ref: TableRef,
    change: Callable[[list[dict[str, Any]]], None],
    *,
    hashes: bool = True,
    log: bool = True,
) -> None:
    """Change rows of a data file of a version, with their hashes and the commit log, as somebody who knows Sultana."""
    from lance.file import LanceFileReader, LanceFileWriter

    path = next(path for path in scene.files(ref) if path.parent.name == "data")
    scene.keep(path)
    before = LanceFileReader(str(path)).read_all().to_table()
    rows = before.to_pylist()
    change(rows)
    schema = before.schema
    columns = [name for name in schema.names if name != ROW_HASH]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    if hashes:
        batch = batch.set_column(
            schema.get_field_index(ROW_HASH),
            HASH_FIELD.with_nullable(schema.field(ROW_HASH).nullable),
            hash_rows(batch, columns),
        )
    beside = path.with_name("forged.lance")
    with LanceFileWriter(str(beside), schema=batch.schema, version="2.2") as writer:
        writer.write_batch(batch)
    shutil.move(beside, path)
    if log:
        forge_log(scene, ref.table, path)


def forge_log(scene: Scene, table: str, path: Path) -> None:
    """Let the commit log say that the file is as it was written, its chain of hashes whole."""
    database = scene.data / "lance" / "commits.sqlite"
    scene.restore_database(database)
    name = path.relative_to(scene.folder(table)).as_posix()
    now = stored_file(scene.folder(table), name)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute(
            "UPDATE files SET size = ?, sha256 = ? WHERE path = ? AND sequence IN "
            "(SELECT sequence FROM commits WHERE table_name = ?)",
            (now.size, now.sha256, name, table),
        )
        rechain(connection)


def rechain(connection: sqlite3.Connection) -> None:
    """Make every hash of the commit log follow from the row before it."""
    previous = ""
    rows = connection.execute(f"SELECT {commits._COLUMNS} FROM commits ORDER BY sequence").fetchall()
    for row in rows:
        files = connection.execute(
            "SELECT path, size, sha256 FROM files WHERE sequence = ? ORDER BY path", (row[0],)
        ).fetchall()
        fields = (*row[:11], files_digest(StoredFile(*one) for one in files), previous)
        previous = hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode("ascii")).hexdigest()
        connection.execute(
            "UPDATE commits SET files_sha256 = ?, previous_hash = ?, hash = ? WHERE sequence = ?",
            (fields[11], fields[12], previous, row[0]),
        )


def _ref(scene: Scene, table: str) -> TableRef:
    return next(ref for ref in scene.tables if ref.table == table)


def _any(rows: list[Any], generator: Generator) -> Any:
    return rows[int(generator.integers(len(rows)))]


def edited_row(scene: Scene, generator: Generator) -> Words:
    """A number of a row, the hash beside it left as it is."""
    named: list[str] = []

    def change(rows: list[dict[str, Any]]) -> None:
        row = _any(rows, generator)
        row["distance"] += 0.5
        named.append(row["row_id"])

    rewrite(scene, _ref(scene, DIVERSITY_CLUSTERS.table), change, hashes=False)
    return DIVERSITY_CLUSTERS.table, named[0]


def swapped_rows(scene: Scene, generator: Generator) -> Words:
    """What two rows say exchanged, every hash beside them made to fit."""

    def change(rows: list[dict[str, Any]]) -> None:
        one, other = generator.choice(len(rows), 2, replace=False)
        rows[one]["distance"], rows[other]["distance"] = rows[other]["distance"], rows[one]["distance"]

    rewrite(scene, _ref(scene, DIVERSITY_CLUSTERS.table), change)
    return DIVERSITY_CLUSTERS.table, "do not give the digest"


def edited_response(scene: Scene, generator: Generator) -> Words:
    """The text of a row with all hashes: where its file gets another size, Lance does not read it any more."""

    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["messages"][-1]["content"] += "."

    rewrite(scene, _ref(scene, INSTRUCTIONS.table), change)
    return (INSTRUCTIONS.table,)


def edited_score_of_the_ledger(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["score"] += 1.0

    rewrite(scene, _ref(scene, CURRICULUM.table), change)
    return CURRICULUM.table, "do not give the digest"


def other_row_in_a_slot(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        one, other = _any(rows, generator), _any(rows, generator)
        one["row_id"] = other["row_id"][::-1]

    rewrite(scene, _ref(scene, CURRICULUM.table), change)
    return CURRICULUM.table, "do not give the digest"


def edited_evaluation(scene: Scene, generator: Generator) -> Words:
    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["value"] -= 0.125

    rewrite(scene, _ref(scene, EVALUATIONS.table), change)
    return EVALUATIONS.table, "do not give the digest"


def edited_decision(scene: Scene, generator: Generator) -> Words:
    """A decision rewritten with every hash below it, the table's digest in Lance and in the log as well."""

    def change(rows: list[dict[str, Any]]) -> None:
        _any(rows, generator)["reason"] = "it was the best"

    rewrite(scene, _ref(scene, PROMOTIONS.table), change)
    return (PROMOTIONS.table,)


def edited_commit(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        scene.data / "lance" / "commits.sqlite",
        "UPDATE commits SET run_id = 'another' WHERE sequence = (SELECT max(sequence) FROM commits)",
    )
    return ("commits.sqlite", "does not follow")


def removed_commit(scene: Scene, generator: Generator) -> Words:
    ref = _table(scene, generator)
    database = scene.data / "lance" / "commits.sqlite"
    scene.restore_database(database)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(
            "DELETE FROM commits WHERE table_name = ? AND version = ?", (ref.table, ref.version)
        )
    return ("commits.sqlite", "does not follow")


def bit_of_the_model(scene: Scene, generator: Generator) -> Words:
    files = [path for path in scene.artifacts.rglob("*") if path.is_file() and path.name != "MANIFEST.json"]
    path = sorted(files)[int(generator.integers(len(files)))]
    flip(scene, path, generator)
    return ("version 1", path.name, "was changed")


def missing_file_of_the_model(scene: Scene, generator: Generator) -> Words:
    path = next(scene.artifacts.rglob("tokenizer.json"))
    scene.keep(path)
    path.unlink()
    return ("tokenizer.json", "is missing")


def added_file_of_the_model(scene: Scene, generator: Generator) -> Words:
    path = scene.artifacts / "components" / "sitecustomize.py"
    scene.keep(path)
    path.write_text("raise SystemExit")
    return ("sitecustomize.py", "was added")


def other_adapter_with_its_manifest(scene: Scene, generator: Generator) -> Words:
    """Weights, their list of hashes and the tag of its hash, all made to fit."""
    weights = next(scene.artifacts.rglob("adapter_model.safetensors"))
    flip(scene, weights, generator)
    manifest = scene.artifacts / "MANIFEST.json"
    scene.keep(manifest)
    told = json.loads(manifest.read_bytes())
    name = weights.relative_to(scene.artifacts).as_posix()
    told["files"][name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    manifest.write_bytes(json.dumps(told, indent=1, sort_keys=True).encode())
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.manifest_sha256'",
        hashlib.sha256(manifest.read_bytes()).hexdigest(),
    )
    return ("hash of its files",)


def _mlflow(scene: Scene) -> Path:
    return scene.data / "mlflow" / "mlflow.db"


def edited_parameter(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE params SET value = '0.5' WHERE key = 'training.learning_rate' AND run_uuid = ?",
        scene.run_id,
    )
    return ("parameters",)


def edited_loss(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE metrics SET value = value / 2 WHERE key = 'loss' AND run_uuid = ? AND step = 0",
        scene.run_id,
    )
    return ("metrics",)


def _manifest(scene: Scene) -> Path:
    """The manifest beside the model: MLflow keeps where files lie, so that a copy of its database shares them."""
    (store,) = [
        path for path in scene.artifacts.parents if (path.name, path.parent.name) == ("artifacts", "mlflow")
    ]
    return next(store.rglob("lineage/manifest.json"))


def edited_manifest_in_mlflow(scene: Scene, generator: Generator) -> Words:
    path = _manifest(scene)
    flip(scene, path, generator)
    return ("lineage manifest", "was changed")


def missing_manifest_in_mlflow(scene: Scene, generator: Generator) -> Words:
    path = _manifest(scene)
    scene.keep(path)
    path.unlink()
    return ("lineage manifest", "not with its MLflow run")


def edited_hash_of_the_manifest(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.lineage_manifest_sha256'",
        "0" * 64,
    )
    return ("lineage manifest", "rewritten")


def edited_signature(scene: Scene, generator: Generator) -> Words:
    scene.sql(
        _mlflow(scene),
        "UPDATE model_version_tags SET value = ? WHERE key = 'sultana.lineage_manifest_signature'",
        "0" * 128,
    )
    return ("lineage manifest", "signature")


def moved_alias(scene: Scene, generator: Generator) -> Words:
    scene.sql(_mlflow(scene), "DELETE FROM registered_model_aliases WHERE alias = 'champion'")
    return ("@champion",)


def _edit_event(scene: Scene, asset: str, old: str, new: str) -> None:
    """Change the record of the materializations of an asset in Dagster's event log, wherever it stands."""
    for database in sorted((scene.data / "dagster" / "history" / "runs").glob("*.db")):
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "event_logs" not in tables:
                continue
            rows = connection.execute(
                "SELECT id, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND "
                "asset_key = ?",
                (json.dumps([asset]),),
            ).fetchall()
        for place, event in rows:
            assert old in event
            scene.sql(
                database, "UPDATE event_logs SET event = ? WHERE id = ?", event.replace(old, new), place
            )


def edited_configuration_in_dagster(scene: Scene, generator: Generator) -> Words:
    _edit_event(scene, "interpolated_instructions", '"cross_task"', '"any"')
    return ("interpolated_instructions", "record was changed")


def edited_digest_in_dagster(scene: Scene, generator: Generator) -> Words:
    ref = _ref(scene, "diversity_clusters")
    _edit_event(scene, "diversity_clusters", ref.digest, ref.digest[::-1])
    return ("diversity_clusters",)


KINDS: dict[str, Callable[[Scene, Generator], Words]] = {
    one.__name__: one
    for one in (
        bit_of_rows,
        bit_of_a_table_manifest,
        bit_of_a_transaction,
        missing_file_of_rows,
        truncated_file_of_rows,
        missing_table,
        moved_tag,
        edited_row,
        edited_response,
        swapped_rows,
        edited_score_of_the_ledger,
        other_row_in_a_slot,
        edited_evaluation,
        edited_decision,
        edited_commit,
        removed_commit,
        bit_of_the_model,
        missing_file_of_the_model,
        added_file_of_the_model,
        other_adapter_with_its_manifest,
        edited_parameter,
        edited_loss,
        edited_manifest_in_mlflow,
        missing_manifest_in_mlflow,
        edited_hash_of_the_manifest,
        edited_signature,
        moved_alias,
        edited_configuration_in_dagster,
        edited_digest_in_dagster,
    )
}
