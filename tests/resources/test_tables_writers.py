"""Several writers of one table at once, each a process of its own."""

import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa

from assets.records import Record
from resources.table_refs import Provenance
from resources.tables import LanceTables

ROOT = Path(__file__).parents[2]

UPSERTER = """
import sys, pyarrow as pa
from pathlib import Path
from assets.identity import digest
from assets.records import Record
from resources.table_refs import Provenance
from resources.tables import LanceTables
schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
tables, me = LanceTables(Path(sys.argv[1])), sys.argv[2]
for turn in range(8):
    ids = [f"{turn}-{n}" for n in range(5)] + [f"{turn}-of-{me}"]
    rows = pa.table({"id": ids, "v": [int(me)] * 6}, schema=schema)
    key = f"{me}:{turn}"
    tables.write(Record("numbers", "id", schema), rows, mode="upsert",
                 provenance=Provenance("run", "numbers", key))
"""


def test_upserts_by_four_processes_keep_keys_unique(tmp_path: Path) -> None:
    root = tmp_path / "new"
    writers = [
        subprocess.Popen([sys.executable, "-c", UPSERTER, str(root), str(n)], cwd=ROOT) for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    tables = LanceTables(root)
    head = tables.head("numbers")
    assert head is not None and head.rows == 8 * 5 + 4 * 8
    ids = tables.read(head)["id"].to_pylist()
    assert len(ids) == len(set(ids)) == head.rows
    assert len(tables.versions("numbers")) == 32
    assert tables.check() == []


UNLOCKED = """
import sys, lance, pyarrow as pa
schema = lance.dataset(sys.argv[1]).schema
sys.stdin.readline()
for turn in range(15):
    merge = lance.dataset(sys.argv[1]).merge_insert("id")
    merge = merge.when_matched_update_all().when_not_matched_insert_all()
    merge.execute(pa.table({"id": [f"k{turn}"], "v": [1], "row_sha256": [bytes(32)]}, schema=schema))
"""


def test_the_declared_key_protects_even_writers_that_bypass_the_lock(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
    first = pa.table({"id": ["a"], "v": [0]}, schema=schema)
    provenance = Provenance("run", "numbers", "1")
    tables = LanceTables(tmp_path)
    tables.write(Record("numbers", "id", schema), first, mode="overwrite", provenance=provenance)
    path = tables.path("numbers")
    command = [sys.executable, "-c", UNLOCKED, str(path)]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    time.sleep(1.5)  # until both have imported Lance
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0]
    import lance

    ids = lance.dataset(str(path)).to_table()["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 16
