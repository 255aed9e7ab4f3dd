from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.records import Record
from resources import lance_folder, table_indices
from resources.errors import SultanaError
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

TEXTS = Record(
    "texts",
    "id",
    pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("parent", pa.string()),
            pa.field("turns", pa.list_(pa.struct([("content", pa.string())]))),
        ]
    ),
    indexed=("id", "parent"),
    searched=("turns.content",),
)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanceTables:
    monkeypatch.setattr(table_indices, "LEAST_ROWS", 10)
    return LanceTables(tmp_path / "store")


def put(tables: LanceTables, start: int, end: int, mode: str = "append") -> TableRef:
    rows = [
        {"id": f"i{k}", "parent": f"p{k % 4}", "turns": [{"content": f"the number {k}"}]}
        for k in range(start, end)
    ]
    key = f"{start}-{end}"
    return tables.write(
        TEXTS,
        pa.Table.from_pylist(rows, schema=TEXTS.schema),
        mode=mode,  # type: ignore[arg-type]
        provenance=Provenance("run", "texts", key),
    )


def covered(tables: LanceTables, ref: TableRef) -> dict[str, int]:
    return {one.name: one.num_rows_indexed for one in tables.open(ref).describe_indices()}


def found(tables: LanceTables, ref: TableRef, filter: str) -> set[str]:
    return set(tables.read(ref, columns=["id"], filter=filter)["id"].to_pylist())


def test_the_acknowledged_version_carries_its_indices_and_is_looked_up_by_them(tables: LanceTables) -> None:
    ref = put(tables, 0, 20)
    assert covered(tables, ref) == {"id": 20, "parent": 20, "turns_content": 20}
    assert ref.rows == 20 and tables.head("texts") == ref
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_indices, "LEAST_ROWS", 1000)
        plain = put(LanceTables(tables.root.parent / "plain"), 0, 20)
    assert ref.digest == plain.digest and ref.version == plain.version + 1
    dataset = tables.open(ref)
    assert dataset.version == lance_folder.versions_on_disk(tables.folder("texts"))[0]
    assert lance_folder.tags(tables.folder("texts")) == {ref.tag: ref.version}
    plan = dataset.scanner(filter="id = 'i3' OR parent = 'p1'").explain_plan(True)
    assert "ScalarIndexQuery" in plan and "@id" in plan and "@parent" in plan
    assert found(tables, ref, "id = 'i3' OR parent = 'p1'") == {"i3", *(f"i{k}" for k in range(1, 20, 4))}
    assert table_indices.is_searched(dataset, "turns.content")
    assert dataset.to_table(full_text_query="17", columns=["id", "_score"])["id"].to_pylist() == ["i17"]
    assert put(tables, 0, 20) == ref and tables.check() == []


def test_a_small_table_has_none(tables: LanceTables) -> None:
    ref = put(tables, 0, 9)
    assert ref.version == 1 and covered(tables, ref) == {}
    assert not table_indices.is_searched(tables.open(ref), "turns.content")


def test_appends_are_found_before_and_after_the_index_is_made_anew(tables: LanceTables) -> None:
    put(tables, 0, 20)
    second = put(tables, 20, 25)
    assert covered(tables, second)["id"] == 20 and found(tables, second, "id = 'i22'") == {"i22"}
    third = put(tables, 25, 40)
    assert covered(tables, third) == {"id": 40, "parent": 40, "turns_content": 40}
    assert len([one for one in tables.open(third).list_indices() if one["name"] == "id"]) == 1
    assert found(tables, third, "parent = 'p0'") == {f"i{k}" for k in range(0, 40, 4)}
    assert found(tables, second, "parent = 'p0'") == {f"i{k}" for k in range(0, 25, 4)}
    fourth = put(tables, 100, 130, "overwrite")
    assert covered(tables, fourth)["id"] == 30 and found(tables, fourth, "id = 'i5'") == set()
    assert tables.check() == []


def test_a_kill_while_an_index_is_made_leaves_rows_that_the_same_write_adopts(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, calls = table_indices._build, []

    def killed(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return build(*arguments)

    monkeypatch.setattr(table_indices, "_build", killed)
    with pytest.raises(KeyboardInterrupt):
        put(tables, 0, 20)
    folder = tables.path("texts")
    assert tables.head("texts") is None and list((folder / "_indices").iterdir()) == []
    data = set((folder / "data").iterdir())
    ref = put(tables, 0, 20)
    assert set((folder / "data").iterdir()) == data and covered(tables, ref)["parent"] == 20
    assert tables.check() == []


def test_a_kill_before_the_version_is_acknowledged_makes_no_index_twice(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("resources.tables.sync_filesystem", killed)
        with pytest.raises(KeyboardInterrupt):
            put(tables, 0, 20)
    version = lance_folder.versions_on_disk(tables.folder("texts"))[0]
    ref = put(tables, 0, 20)
    assert ref.version == version and covered(tables, ref)["id"] == 20 and tables.check() == []


def test_a_run_that_has_ended_meanwhile_makes_no_index(tmp_path: Path, tables: LanceTables) -> None:
    asked: list[int] = []

    def fence() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise SultanaError("The run has ended", "Start it again", code="run-ended")

    with pytest.raises(SultanaError, match="has ended"):
        put(LanceTables(tmp_path / "store", fence=fence), 0, 20)
    assert tables.head("texts") is None
    assert covered(tables, put(tables, 0, 20))["id"] == 20
