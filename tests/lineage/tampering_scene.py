"""A deployment in which something is changed, what undoes it, and how traces are covered in tables and their log."""

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
