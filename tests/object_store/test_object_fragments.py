"""Rows that workers write into an object store and read from it, as they do in a folder that they share."""

import copy

import numpy as np
import pyarrow as pa
import pytest

from resources.errors import SultanaError
from resources.orphans import files_of_no_version
from resources.table_fragments import Fragments, Target, Written, write_rows
from resources.table_parts import TablePart, read_part
from resources.table_refs import Provenance
from resources.table_verification import verify_version
from resources.tables import LanceTables
from tests.object_store.number_rows import NUMBERS, content, put


def wrote(target: Target, *ids: str, value: int) -> Written:
    """What a worker reports, to which the target has travelled."""
    rows = pa.RecordBatch.from_pylist([{"id": one, "v": value} for one in ids], schema=NUMBERS.schema)
    return write_rows(copy.deepcopy(target), [rows])


def test_what_workers_wrote_is_committed_once_and_read_by_them(tables: LanceTables) -> None:
    first = put(tables, "1", "overwrite", "a", "b")
    with tables.fragments(NUMBERS) as target:
        lost = wrote(target, "x", value=9)
        parts = Fragments([wrote(target, "c", value=1), wrote(target, "b", "d", value=2)])
        second = tables.write(NUMBERS, parts, mode="upsert", provenance=Provenance("run-1", "numbers", "2"))
    assert content(tables, first) == {"a": 0, "b": 0}
    assert content(tables, second) == {"a": 0, "c": 1, "b": 2, "d": 2}
    assert verify_version(tables, second, every_row=True).problems == []
    part = TablePart(tables.folder("numbers"), second, np.array([2, 0]), ("id",))
    assert read_part(copy.deepcopy(part))["id"].to_pylist() == [
        tables.read(second)["id"][place].as_py() for place in (2, 0)
    ]
    with tables.locked("numbers"):
        assert [one.path for one in files_of_no_version(tables, "numbers")] == [lost.files[0].path]


def test_an_object_that_is_gone_is_named_and_the_others_are_removed(tables: LanceTables) -> None:
    with tables.fragments(NUMBERS) as target:
        parts = Fragments([wrote(target, "a", value=0), wrote(target, "b", value=0)])
        target.folder.remove([parts[1].files[0].path])
        with pytest.raises(SultanaError) as raised:
            tables.write(NUMBERS, parts, mode="overwrite", provenance=Provenance("run-1", "numbers", "1"))
    assert raised.value.code == "path-not-shared"
    assert tables.head("numbers") is None and target.folder.files() == []
