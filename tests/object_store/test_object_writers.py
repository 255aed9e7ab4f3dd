"""Several processes that write one table of an object store, some of which are killed; requests that come too late."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources import lance_folder
from resources.errors import SultanaError, TransientError
from resources.table_checks import check_leftovers
from resources.table_verification import verify_version
from resources.tables import LanceTables
from tests.object_store.number_rows import NUMBERS, content, put
from tests.object_store.store import BUCKET, Store

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from resources.tables import LanceTables
from tests.object_store.number_rows import put
root, uri, me, count = sys.argv[1:]
tables = LanceTables(Path(root), uri=uri)
for turn in range(int(count)):
    key = f"{me}:{turn}"
    put(tables, key, "upsert" if turn % 2 else "append", f"{me}-{turn}", value=turn)
    print(key, flush=True)
"""


def start(tables: LanceTables, me: str, count: int, root: Path | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root or tables.root), tables.where, me, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_log_and_store_agree(tables: LanceTables) -> None:
    """Every acknowledged version is there, tagged, of the rows and files that were acknowledged."""
    refs = tables.versions("numbers")
    assert tables.check() == []
    assert verify_version(tables, refs[-1], every_row=True).problems == []
    for before, after in zip(refs, refs[1:], strict=False):
        assert after.version > before.version and after.rows == before.rows + 1
    newest = content(tables, refs[-1])
    assert len(newest) == refs[-1].rows


@pytest.mark.slow
def test_four_processes_commit_ten_times_each_and_nothing_is_lost_or_doubled(tables: LanceTables) -> None:
    put(tables, "first", "overwrite", "start")
    writers = [start(tables, f"w{n}", 10) for n in range(4)]
    for writer in writers:
        _, said = writer.communicate(timeout=600)
        assert writer.returncode == 0, said
    refs = tables.versions("numbers")
    assert len(refs) == 41 and len({ref.version for ref in refs}) == 41
    assert set(content(tables, refs[-1])) == {"start"} | {
        f"w{n}-{turn}" for n in range(4) for turn in range(10)
    }
    assert_log_and_store_agree(tables)
    assert check_leftovers(tables, can_drop=True) == []


def test_two_first_writers_at_once_share_one_place(tables: LanceTables, store: Store) -> None:
    writers = [start(tables, f"w{n}", 2) for n in range(2)]
    for writer in writers:
        _, said = writer.communicate(timeout=600)
        assert writer.returncode == 0, said
    assert len(tables.versions("numbers")) == 4
    assert_log_and_store_agree(tables)
    (owner,) = [
        one
        for one in store.objects()
        if one.endswith(f"{tables.where.rpartition('/')[2]}/_sultana/owner.json")
    ]
    assert not [one for one in store.objects() if "/probe-" in one]


def test_another_log_may_not_write_there(tables: LanceTables, tmp_path: Path) -> None:
    ref = put(tables, "1", "overwrite", "a")
    other = start(tables, "other", 1, root=tmp_path / "other")
    _, said = other.communicate(timeout=600)
    assert other.returncode == 1 and "tables-of-another-log" in said
    assert tables.versions("numbers") == [ref] and tables.check() == []
    (found,) = LanceTables(tmp_path / "other", uri=tables.where).check()
    assert found.code == "tables-of-another-log"


KILLED = """
import os, signal, sys
from pathlib import Path
from resources import commits, lance_folder, object_folder, table_place, tables
from tests.object_store.number_rows import put
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
root, place, mode = sys.argv[1:]
real = commits.CommitLog.record
if place == "after the pointer":
    commits.CommitLog.record = lambda *a, **k: (real(*a, **k), kill())
elif place == "before the pointer":
    commits.CommitLog.record = kill
elif place == "before the hashes":
    tables.files_of = kill
elif place == "before the tag":
    lance_folder.tag_version = kill
fence = kill if place == "before the commit" else None
put(tables.LanceTables(Path(root), fence), "2", mode, "b")
"""


@pytest.mark.parametrize(
    ("place", "mode"),
    [("before the tag", "append"), ("before the hashes", "upsert")]
    + [(place, "append") for place in ("before the commit", "before the pointer", "after the pointer")]
    + [("before the pointer", "overwrite")],
)
def test_a_killed_write_is_adopted_or_absent(tables: LanceTables, place: str, mode: str) -> None:
    first = put(tables, "1", "overwrite", "a")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tables.root), place, mode], cwd=ROOT, check=False, timeout=300
    )
    assert killed.returncode == -9
    folder = tables.folder("numbers")
    assert lance_folder.versions_on_disk(folder) == ([1] if place == "before the commit" else [2, 1])
    if place != "after the pointer":
        assert tables.head("numbers") == first
    again = put(tables, "2", mode, "b")
    assert again.version == 2 and len(lance_folder.versions_on_disk(folder)) == 2
    assert set(content(tables, again)) == ({"b"} if mode == "overwrite" else {"a", "b"})
    assert len(tables.versions("numbers")) == 2 and tables.check() == []
    put(tables, "3", "append", "c")  # whether or not the store was told of the version before
    assert tables.check() == []


@pytest.mark.slow
def test_writers_killed_at_any_moment_lose_nothing_that_was_acknowledged(tables: LanceTables) -> None:
    kills, seed = int(os.environ.get("SULTANA_FAULT_KILLS", "12")), 11
    rng = random.Random(seed)
    put(tables, "first", "overwrite", "start")
    said: set[str] = set()
    for kill in range(kills):
        writer = start(tables, f"k{kill}", 1000)
        assert writer.stdout is not None
        said.add(writer.stdout.readline().strip())
        time.sleep(rng.random() * 1.5)
        writer.kill()
        said |= {
            line.strip()
            for line in writer.communicate(timeout=60)[0].splitlines(keepends=True)
            if line[-1] == "\n"
        }
    put(tables, "last", "append", "end")
    ids = set(content(tables, tables.versions("numbers")[-1]))
    acknowledged = {one.idempotency_key for one in tables.commits.history("numbers")} - {"first", "last"}
    assert said <= acknowledged and len(said) >= kills
    assert ids == {"start", "end"} | {one.replace(":", "-") for one in acknowledged}
    assert_log_and_store_agree(tables)
    for found in check_leftovers(tables, can_drop=True):
        assert found.code in ("orphan-files", "unacknowledged-head")


def late_append(tables: LanceTables, name: str) -> None:
    """What a writer that was killed had sent already: a commit that arrives now."""
    import lance
    import pyarrow as pa

    folder = tables.folder("numbers")
    stored = lance.dataset(folder.uri, storage_options=folder.options)
    rows = pa.table({"id": [name], "v": [7], "row_sha256": [bytes(32)]}, schema=stored.schema)
    lance.write_dataset(rows, folder.uri, mode="append", storage_options=folder.options)


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_commit_that_arrives_late_gets_into_no_acknowledged_version(
    tables: LanceTables, tmp_path: Path, mode: str
) -> None:
    first = put(tables, "1", "overwrite", "a")
    late = iter(["ghost"])

    def fence() -> None:  # asked right before the commit
        for name in late:
            late_append(tables, name)

    disturbed = LanceTables(tables.root, fence)
    with pytest.raises(TransientError) as raised:
        put(disturbed, "2", mode, "b")
    assert raised.value.code == "table-written-meanwhile"
    assert tables.versions("numbers") == [first]
    again = put(disturbed, "2", mode, "b")
    assert content(tables, again) == {"a": 0, "b": 0}
    assert verify_version(tables, again, every_row=True).problems == []
    (found,) = check_leftovers(tables, can_drop=True)  # the record of the commit that was taken back
    assert found.code == "orphan-files" and found.repair is not None
    found.repair.mend()
    assert check_leftovers(tables, can_drop=True) == [] and tables.check() == []


def test_a_version_built_upon_a_late_commit_is_not_adopted_after_a_kill(tables: LanceTables) -> None:
    """The kill falls between the commit to the store and the look at what it was built upon."""
    put(tables, "1", "overwrite", "a")
    late = iter(["ghost"])

    def fence() -> None:
        for name in late:
            late_append(tables, name)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    disturbed = LanceTables(tables.root, fence)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lance_folder, "_must_follow", killed)
        patch.setattr("resources.object_folder.ObjectFolder.remove", killed)
        with pytest.raises(KeyboardInterrupt):
            put(disturbed, "2", "append", "b")
    assert lance_folder.versions_on_disk(tables.folder("numbers")) == [3, 2, 1]
    again = put(tables, "2", "append", "b")
    assert again.version > 3 and content(tables, again) == {"a": 0, "b": 0}
    assert verify_version(tables, again, every_row=True).problems == [] and tables.check() == []


def test_a_log_that_is_behind_its_tables_writes_nothing(tables: LanceTables, tmp_path: Path) -> None:
    """A copy of the data folder, or one restored from a backup, while the tables went on."""
    first = put(tables, "1", "overwrite", "a")
    copied = tmp_path / "copied"
    copied.mkdir()
    from resources.sqlite_files import copy_database

    copy_database(tables.root / "commits.sqlite", copied / "commits.sqlite")
    newest = put(tables, "2", "append", "b")
    behind = LanceTables(copied)
    assert behind.head("numbers") == first and content(behind, first) == {"a": 0}
    with pytest.raises(SultanaError) as raised:
        put(behind, "3", "append", "c")
    assert raised.value.code == "commit-log-behind"
    assert tables.check() == [] and content(tables, newest) == {"a": 0, "b": 0}
    (found,) = behind.check()
    assert found.code == "commit-log-behind" and found.repair is not None and not found.repair.quiet
    found.repair.mend()
    third = put(behind, "3", "append", "c")
    assert content(behind, third) == {"a": 0, "c": 0} and behind.check() == []
    with pytest.raises(SultanaError) as raised:  # now it is the other that is behind
        put(tables, "4", "append", "d")
    assert raised.value.code == "commit-log-behind" and content(tables, newest) == {"a": 0, "b": 0}


def test_a_store_without_conditional_writes_is_refused(
    uri: str, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resources.object_folder import ObjectFolder

    def put_anyway(folder: ObjectFolder, path: str, content: bytes) -> bool:
        folder.put(path, content)
        return True

    monkeypatch.setattr(ObjectFolder, "put_new", put_anyway)
    tables = LanceTables(tmp_path / "lance", uri=uri)
    for _ in range(2):
        with pytest.raises(SultanaError) as raised:
            put(tables, "1", "overwrite", "a")
        assert raised.value.code == "object-store-unsuitable"
    assert store.objects(uri.removeprefix(f"s3://{BUCKET}/")) == [] and NUMBERS.table == "numbers"
