"""Words of erased rows leave the full-text indices of every version, which stay right for all other rows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.records import RAW_INSTRUCTIONS
from resources import index_erasure, table_indices
from resources.errors import SultanaError
from resources.rewritten import check_rewritten
from resources.table_erasure import erase_content
from resources.table_refs import Provenance, TableRef
from resources.table_verification import Erasure, verify_version
from resources.tables import LanceTables

TABLE = RAW_INSTRUCTIONS.table
SECRET = "Zebrafish of Quimperlé eat bluemarzipan"
SECRET_WORDS = ("zebrafish", "quimperle", "bluemarzipan")
ERASED = {f"{0:032x}"}


@pytest.fixture(autouse=True)
def small_tables_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_indices, "LEAST_ROWS", 10)


def row(number: int, text: str | None = None) -> dict[str, Any]:
    answer = "" if text == "" else "ok fine"
    return {
        **dict.fromkeys(RAW_INSTRUCTIONS.schema.names),
        "origin_id": f"{number:032x}",
        "instruction_id": f"{number:032x}",
        "source": "s",
        "file": "f.jsonl",
        "file_sha256": "f" * 64,
        "position": number,
        "messages": [
            {"role": "user", "content": f"Say word{number}." if text is None else text},
            {"role": "assistant", "content": answer},
        ],
    }


def write(tables: LanceTables, rows: Iterable[dict[str, Any]], mode: Any) -> TableRef:
    made = pa.Table.from_pylist(list(rows), schema=RAW_INSTRUCTIONS.schema)
    key = f"{mode} {len(tables.versions(TABLE))}"
    return tables.write(RAW_INSTRUCTIONS, made, mode=mode, provenance=Provenance("run", "a", key))


def written(folder: Path, secret: str) -> tuple[LanceTables, list[TableRef]]:
    """Four versions: an index, the same one with a row written again, one made anew, and one of other rows."""
    tables = LanceTables(folder)
    return tables, [
        write(tables, [row(0, secret), *map(row, range(1, 30))], "overwrite"),
        write(tables, [row(0, secret), row(3), *map(row, range(100, 104))], "upsert"),
        write(tables, map(row, range(200, 240)), "append"),
        write(tables, map(row, range(1, 20)), "overwrite"),
    ]


def found(tables: LanceTables, ref: TableRef, word: str) -> set[int]:
    rows = tables.open(ref).to_table(full_text_query=word, columns=["position", "_score"])
    return set(rows["position"].to_pylist())


def vocabularies(tables: LanceTables) -> set[bytes]:
    """What the files of words hold, of all indices on the disk."""
    from lance.file import LanceFileReader

    files = sorted((tables.path(TABLE) / "_indices").rglob("*tokens.lance"))
    return {LanceFileReader(str(file)).read_all().to_table()[0][0].as_py() for file in files}


def erase(tables: LanceTables, ids: set[str] = ERASED) -> int:
    return erase_content(tables, TABLE, "origin_id", ids, ["messages", "raw_text", "problem_detail"])


def test_words_leave_the_indices_of_all_versions_and_no_others_do(tmp_path: Path) -> None:
    tables, refs = written(tmp_path / "lance", SECRET)
    words = ("word3", "word25", "word102", "word210", "ok")
    before = {(ref, word): found(tables, ref, word) for ref in refs for word in words}
    assert all(found(tables, ref, word) == {0} for ref in refs[:3] for word in SECRET_WORDS)
    assert before[refs[0], "word3"] == before[refs[1], "word3"] == {3} and before[refs[2], "word210"] == {210}

    assert erase(tables) == 2
    assert not any(found(tables, ref, word) for ref in refs for word in SECRET_WORDS)
    assert {key: found(tables, *key) for key in before} == {key: rows - {0} for key, rows in before.items()}
    never, _ = written(tmp_path / "never", "")
    assert vocabularies(tables) == vocabularies(never)
    assert all(table_indices.is_searched(tables.open(ref), "messages.content") for ref in refs)
    for ref in refs:
        assert verify_version(tables, ref, erasure=Erasure(frozenset(ERASED), ("messages",))).problems == []
    assert tables.check() == [] and check_rewritten(tables.commits) is None

    # The table goes on: with the old index, and with one made anew.
    fifth = write(tables, [row(0, "Colibri"), row(1000)], "upsert")
    sixth = write(tables, map(row, range(300, 330)), "append")
    for ref in (fifth, sixth):
        assert found(tables, ref, "colibri") == {0} and found(tables, ref, "word7") == {7}
        assert verify_version(tables, ref).problems == []
    assert erase(tables, {f"{1:032x}"})
    assert [found(tables, sixth, word) for word in ("word1", "word300", "colibri")] == [set(), {300}, {0}]
    for ref in (*refs, sixth):
        assert (
            verify_version(
                tables, ref, erasure=Erasure(frozenset(ERASED | {f"{1:032x}"}), ("messages",))
            ).problems
            == []
        )


def test_an_index_of_which_no_word_is_left(tmp_path: Path) -> None:
    tables = LanceTables(tmp_path)
    ref = write(tables, [row(n, f"{SECRET} {n}") for n in range(20)], "overwrite")
    everything = {f"{n:032x}" for n in range(20)}
    assert erase(tables, everything) == 20
    about = [file.read_bytes() for file in (tables.path(TABLE) / "_indices").rglob("metadata.lance")]
    parts = [file.read_bytes() for file in (tables.path(TABLE) / "_indices").rglob("part_*")]
    assert len(parts) == 3 and set(parts) == set(about)  # what held words holds a file without any
    assert not any(found(tables, ref, word) for word in ("ok", *SECRET_WORDS))
    assert (
        verify_version(tables, ref, erasure=Erasure(frozenset(everything), ("messages",))).problems == []
        and tables.check() == []
    )
    more = write(tables, [row(50, "Colibri")], "append")
    assert found(tables, more, "colibri") == {50} and erase(tables, everything) == 20
    assert [
        verify_version(tables, one, erasure=Erasure(frozenset(everything), ("messages",))).problems
        for one in (ref, more)
    ] == [[], []]


def test_what_was_cut_short_is_finished_by_the_same_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, refs = written(tmp_path, SECRET)
    exchange, places = index_erasure.exchange, sorted((tables.path(TABLE) / "_indices").iterdir())

    def killed(file: Path, *rest: Any) -> None:
        exchange(file, *rest)
        if "tokens" in file.name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_erasure, "exchange", killed)
        patch.setattr("shutil.rmtree", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            erase(tables)
    leftovers = set((tables.path(TABLE) / "_indices").iterdir()) - set(places)
    assert len(leftovers) == 1
    assert erase(tables) == 2
    assert sorted((tables.path(TABLE) / "_indices").iterdir()) == places
    assert not any(found(tables, ref, word) for ref in refs for word in SECRET_WORDS)
    assert all(found(tables, ref, "word7") == {7} for ref in refs)
    assert all(
        verify_version(tables, ref, erasure=Erasure(frozenset(ERASED), ("messages",))).problems == []
        for ref in refs
    )


def test_a_changed_index_is_not_hidden_by_an_erasure(tmp_path: Path) -> None:
    tables, refs = written(tmp_path, SECRET)
    file = next((tables.path(TABLE) / "_indices").rglob("*tokens.lance"))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(SultanaError, match="is not the one that was written"):
        erase(tables)
    assert any(
        verify_version(tables, ref, erasure=Erasure(frozenset(ERASED), ("messages",))).problems
        for ref in refs
    )
