"""Tables in an object store: what holds of tables in a folder holds of them."""

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder, table_indices
from resources.errors import SultanaError
from resources.orphans import files_of_no_version
from resources.table_checks import check_leftovers
from resources.table_cleanup import bytes_of, no_writer, plan, remove
from resources.table_refs import Provenance, TableRef
from resources.table_verification import verify_version
from resources.tables import LanceTables
from tests.object_store.number_rows import NUMBERS, content, put
from tests.object_store.store import BUCKET, KEY, SECRET, Store


def test_every_version_stays_readable_and_nothing_but_the_log_is_here(
    tables: LanceTables, uri: str, store: Store
) -> None:
    first = put(tables, "1", "overwrite", "a", "b")
    second = put(tables, "2", "append", "c")
    third = put(tables, "3", "upsert", "c", "d", value=1)
    fourth = put(tables, "4", "overwrite", "z")
    assert content(tables, first) == {"a": 0, "b": 0}
    assert content(tables, second) == {"a": 0, "b": 0, "c": 0}
    assert content(tables, third) == {"a": 0, "b": 0, "c": 1, "d": 1}
    assert content(tables, fourth) == {"z": 0}
    assert sum(batch.num_rows for batch in tables.batches(third, batch_size=3)) == 4
    assert tables.head("numbers") == fourth and tables.head("other") is None
    assert tables.versions("numbers") == [first, second, third, fourth]
    assert put(tables, "2", "append", "c") == second
    assert lance_folder.tags(tables.folder("numbers")) == {
        ref.tag: ref.version for ref in tables.versions("numbers")
    }
    assert tables.check() == [] and check_leftovers(tables, can_drop=True) == []
    here = {
        one.name
        for one in tables.root.rglob("*")
        if one.is_file() and one.suffix not in (".lock", ".fragments")
    }
    assert {name.partition("-")[0] for name in here} == {"commits.sqlite"}
    assert tables.where == uri and tables.folder("numbers").uri == f"{uri}/numbers.lance"


def test_the_log_remembers_where_its_tables_lie(tables: LanceTables, uri: str) -> None:
    first = put(tables, "1", "overwrite", "a")
    again = LanceTables(tables.root)
    assert again.where == uri and content(again, first) == {"a": 0}
    assert content(again, put(again, "2", "append", "b")) == {"a": 0, "b": 0}
    with pytest.raises(SultanaError) as raised:
        LanceTables(tables.root, uri=f"s3://{BUCKET}/elsewhere")
    assert raised.value.code == "tables-elsewhere" and uri in raised.value.problem


def test_tables_that_lie_here_are_not_looked_for_in_a_store(tmp_path: Path, uri: str) -> None:
    here = LanceTables(tmp_path / "here")
    ref = put(here, "1", "overwrite", "a")
    with pytest.raises(SultanaError) as raised:
        LanceTables(tmp_path / "here", uri=uri)
    assert raised.value.code == "tables-elsewhere"
    assert content(LanceTables(tmp_path / "here"), ref) == {"a": 0}


def test_a_version_is_verified_by_files_and_by_rows_and_tampering_is_found(
    tables: LanceTables, store: Store
) -> None:
    ref = put(tables, "1", "overwrite", *(f"row-{n}" for n in range(500)))
    found = verify_version(tables, ref, every_row=True)
    assert found.problems == [] and found.hashed_rows == 500 and found.files == 3
    (key,) = [one for one in store.objects(tables.where.removeprefix(f"s3://{BUCKET}/")) if "/data/" in one]
    client = store.client()
    held = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=held[:50] + bytes([held[50] ^ 1]) + held[51:])
    assert "was changed" in verify_version(tables, ref).problems[0].problem
    assert [one.code for one in tables.check()] == ["file-changed"]
    client.delete_object(Bucket=BUCKET, Key=key)
    assert [one.code for one in tables.check()] == ["file-missing"]
    client.put_object(Bucket=BUCKET, Key=key, Body=held)
    assert tables.check() == [] and verify_version(tables, ref).problems == []


def test_a_tag_that_is_gone_is_found_and_set_again(tables: LanceTables) -> None:
    ref = put(tables, "1", "overwrite", "a")
    tables.folder("numbers").remove([lance_folder.tag_path(ref.tag)])
    (found,) = tables.check()
    assert found.code == "tag-missing" and found.repair is not None
    found.repair.mend()
    assert tables.check() == []


def test_a_head_that_cannot_be_read_is_told_of_and_dropped_by_the_next_write(tables: LanceTables) -> None:
    first, folder = put(tables, "1", "overwrite", "a"), tables.folder("numbers")
    folder.put(lance_folder.manifest(2), bytes(400))  # type: ignore[attr-defined]
    assert lance_folder.versions_on_disk(folder) == [2, 1]
    assert [one.code for one in tables.check()] == ["unreadable-head"]
    again = put(tables, "2", "append", "b")
    assert again.version == 2 and content(tables, again) == {"a": 0, "b": 0}
    assert tables.versions("numbers") == [first, again] and tables.check() == []


def test_maintenance_gives_up_what_nothing_needs_and_never_what_is_tagged_by_others(
    tables: LanceTables,
) -> None:
    refs = [put(tables, name, "overwrite", *(f"{name}{n}" for n in range(1000))) for name in "abcd"]
    tables.open(refs[1]).tags.create("mine", refs[1].version)
    stray = "data/killed.lance"
    tables.folder("numbers").put(stray, bytes(1000))  # type: ignore[attr-defined]
    with no_writer(tables):
        planned = plan(
            tables, "numbers", {("numbers", refs[2].version): "needed"}, datetime.datetime.now(datetime.UTC)
        )
        assert [one.version for one in planned.given_up] == [refs[0].version]
        expected = bytes_of(tables, planned)
        assert remove(tables, planned, "run", "nothing depended on it") == expected > 1000
    assert tables.is_reclaimed(refs[0]) and tables.check() == []
    for ref in refs[1:]:
        assert tables.read(ref).num_rows == 1000
    with pytest.raises(SultanaError) as raised:
        tables.read(refs[0])
    assert raised.value.code == "table-version-reclaimed"
    # Not an hour old: a writer that was given up could still be about it.
    assert files_of_no_version(tables, "numbers", 3600.0) == []
    (found,) = files_of_no_version(tables, "numbers")
    assert (found.path, found.size) == (stray, 1000)
    (leftover,) = check_leftovers(tables, can_drop=True)
    assert leftover.code == "orphan-files" and leftover.repair is not None
    leftover.repair.mend()
    assert check_leftovers(tables, can_drop=True) == [] and tables.check() == []


def test_indices_are_made_there(tables: LanceTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_indices, "LEAST_ROWS", 10)
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("text", pa.string())])
    record = Record("texts", "id", schema, indexed=("id",), searched=("text",))
    rows = pa.table(
        {"id": [f"{n}" for n in range(50)], "text": [f"word{n} and more" for n in range(50)]}, schema=schema
    )
    ref = tables.write(record, rows, mode="overwrite", provenance=Provenance("run", "texts", "1"))
    assert ref.version == 2
    assert tables.open(ref).to_table(full_text_query="word7", columns=["id"])["id"].to_pylist() == ["7"]
    assert verify_version(tables, ref, every_row=True).problems == [] and tables.check() == []
    assert check_leftovers(tables, can_drop=True) == []


def test_mlflow_opens_a_version_by_its_address(tables: LanceTables) -> None:
    first, _ = put(tables, "1", "overwrite", "a"), put(tables, "2", "overwrite", "b")
    import mlflow.data  # noqa: F401 - first, for it loads lance_source itself, by its entry point

    from resources.lance_source import LanceSource

    source = LanceSource(tables.folder("numbers").uri, first.version, first.digest)
    assert source.load().to_table(columns=["id"])["id"].to_pylist() == ["a"]


def test_no_secret_is_kept(tables: LanceTables, store: Store) -> None:
    ref: TableRef = put(tables, "1", "overwrite", "a", metadata={"about": "x"})
    told = repr((tables.folder("numbers").options, tables.folder("numbers").__dict__, ref, NUMBERS))
    stored = b"".join(path.read_bytes() for path in tables.root.rglob("*") if path.is_file())
    client = store.client()
    stored += b"".join(client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in store.objects())
    for secret in (KEY, SECRET):
        assert secret not in told and secret.encode() not in stored
