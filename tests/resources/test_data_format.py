"""A data folder of another release: one sentence and a remedy, whoever opens it first."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from assets.records import Record
from orchestration.cli import app
from resources.data_format import FORMAT
from resources.errors import SultanaError
from resources.mlflow_store import create_database
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False)])
NUMBERS = Record("numbers", "id", SCHEMA)


def put(tables: LanceTables, key: str) -> TableRef:
    return tables.write(
        NUMBERS,
        pa.table({"id": [key]}, schema=SCHEMA),
        mode="overwrite",
        provenance=Provenance("r", "a", key),
    )


def sql(tables: LanceTables, *statements: str) -> None:
    with closing(sqlite3.connect(tables.commits.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    made = LanceTables(tmp_path / "data" / "lance")
    put(made, "first")
    return made


def test_a_new_log_carries_the_number_and_one_from_before_there_was_one_is_read(tables: LanceTables) -> None:
    with closing(sqlite3.connect(tables.commits.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    sql(tables, "PRAGMA user_version=0")
    put(tables, "second")
    assert len(tables.versions("numbers")) == 2 and tables.check() == []


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        (
            ("PRAGMA user_version=0", "ALTER TABLE commits DROP COLUMN files_sha256"),
            "data-of-earlier-release",
        ),
        (("PRAGMA user_version=0", "DROP TABLE files"), "data-of-earlier-release"),
        ((f"PRAGMA user_version={FORMAT + 1}",), "data-of-later-release"),
    ],
)
def test_another_form_is_refused_with_a_sentence(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...], code: str
) -> None:
    ref = tables.head("numbers")
    sql(tables, *statements)
    for call in (lambda: tables.head("numbers"), lambda: put(tables, "second"), lambda: tables.check()):
        with pytest.raises(SultanaError) as refused:
            call()
        assert refused.value.code == code and refused.value.remedy
    assert ref is not None
    monkeypatch.setenv("SULTANA_DATA", str(tables.root.parent))
    for command in (["status"], ["maintain", "--dry-run"], ["backup", str(tables.root.parent.parent / "b")]):
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 1 and code in told.stderr and "Traceback" not in told.stderr, command


def test_a_log_that_is_gone_is_never_replaced_by_an_empty_one(tables: LanceTables) -> None:
    tables.commits.path.unlink()
    with pytest.raises(SultanaError, match="is gone, and tables are there, among them numbers.lance"):
        LanceTables(tables.root)
    assert not tables.commits.path.exists()


def test_no_database_is_made_beside_the_write_ahead_log_of_one_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db-wal").write_bytes(b"x" * 100)
    with pytest.raises(SultanaError, match="its write-ahead log .* is still there"):
        create_database(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert not (tmp_path / "mlflow.db").exists()
