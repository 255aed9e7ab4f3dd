"""Rows that others than the committing process write into a table's folder, and that one commit makes a version of.

A worker writes data files, with the hash of each row, waits until they are on the disk, and reports what it wrote
(`write_rows`). Nothing refers to those files until the one door, `LanceTables.write`, is given the reports of all
(`Fragments`). What a dead worker leaves, or one that did its part a second time, are files of no version, which are
reclaimed as those of any killed write.

From `LanceTables.fragments` until its block ends no such file is reclaimed: it may be one that waits for its commit.
The hash of a file is the worker's, who has just written it; the door looks whether the file is there, of that size.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from resources import lance_folder
from resources.compute.alike import not_shared
from resources.errors import SultanaError
from resources.files import disk_full_explained, exclusive_lock, failing_disk_explained, sync_path
from resources.row_hashes import HASH_FIELD, ROW_HASH
from resources.staging import Staged, added_to, write_files
from resources.table_files import ROWS, StoredFile
from resources.table_folder import TableFolder, failing_store_explained
from resources.table_refs import Record
from resources.text import id_filter
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset


@dataclass(frozen=True)
class Target:
    """Where workers write: the table's folder, its name, its key and its columns."""

    folder: TableFolder
    table: str
    key: str
    schema: pa.Schema


@dataclass(frozen=True, eq=False)
class Written:
    """What a worker wrote: Lance's description of each fragment as JSON, the key and the hash of each row in the order
    of the rows, and the data files, which are on the disk."""

    fragments: tuple[str, ...]
    keys: pa.ChunkedArray
    hashes: pa.ChunkedArray
    files: tuple[StoredFile, ...]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.keys)


class Fragments(Sequence[Written]):
    """What the door commits as one version, in this order."""

    def __init__(self, parts: Iterable[Written]) -> None:
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, place: Any) -> Any:
        return self._parts[place]

    @property
    def rows(self) -> int:
        """How many there are in all parts."""
        return sum(part.rows for part in self._parts)

    @property
    def files(self) -> dict[str, StoredFile]:
        """The data files by their paths."""
        return {one.path: one for part in self._parts for one in part.files}


def write_rows(target: Target, batches: Iterable[pa.RecordBatch]) -> Written:
    """Write rows as data files of the table, synced, committed by nobody.

    Raises SultanaError where this machine does not see the folder of the tables, the rows do not fit the schema, the
    disk is full, or the object store fails.
    """
    folder = target.folder
    schema = lance_folder.declare_key(target.schema, target.key)
    with _errors_explained(folder):
        mode = "append" if lance_folder.versions_on_disk(folder) else "create"
        staged = write_files(folder, None, target.table, target.key, schema, batches, mode=mode)
        fragments = staged.transaction.operation.fragments
        files = tuple(folder.stored(f"{ROWS}{one.path}") for each in fragments for one in each.files)
        if folder.path is not None:  # what an object store has taken is durable
            for one in files:
                sync_path(folder.path / one.path)
            for place in (folder.path / ROWS, folder.path, folder.path.parent) if files else ():
                sync_path(place)
    described = tuple(json.dumps(one.to_json()) for one in fragments)
    return Written(described, staged.keys, staged.hashes, files)


@contextlib.contextmanager
def _errors_explained(folder: TableFolder) -> Iterator[None]:
    """Raises SultanaError where this machine does not see where the tables lie, or cannot write there."""
    if folder.path is None:
        with failing_store_explained(folder):
            yield
        return
    place = folder.path.parent
    if not place.is_dir():
        raise not_shared(place)
    with disk_full_explained(place), failing_disk_explained(place):
        yield


def stage_fragments(
    folder: TableFolder,
    base: "LanceDataset | None",
    table: str,
    key: str,
    schema: pa.Schema,
    written: Fragments,
    *,
    upsert: bool,
) -> Staged:
    """What workers wrote, as a transaction: an overwrite, or an append to `base`, or an `upsert` into it.

    Raises SultanaError where a file is not there, or a key is there twice.
    """
    _check_present(folder, written)
    # An empty write says what a version of this table is to Lance; the fragments are put into it.
    staged = write_files(folder, base, table, key, schema, ())
    staged = replace(
        staged,
        keys=pa.chunked_array([one for part in written for one in part.keys.chunks], type=staged.keys.type),
        hashes=pa.chunked_array(
            [one for part in written for one in part.hashes.chunks], type=HASH_FIELD.type
        ),
    )
    fragments = [_described(one) for part in written for one in part.fragments]
    if base is not None:
        _check_fields(base, fragments, table)
    staged.transaction.operation.fragments.extend(fragments)
    if base is not None and upsert:
        return _upserted(staged, base, table, key)
    return added_to(staged, base, table, key)


def _upserted(staged: Staged, base: "LanceDataset", table: str, key: str) -> Staged:
    """The rows of `base` with the same keys are deleted by the same transaction."""
    lance_folder.check_unique(staged.keys, key, table)
    before = lance_folder.read_keys_and_hashes(base, key)
    replaced = pc.is_in(before[key], value_set=staged.keys.combine_chunks())
    if not pc.any(replaced).as_py():
        return added_to(staged, base, table, key)
    from lance import LanceOperation
    from lance.dataset import Transaction

    condition = id_filter(key, before[key].filter(replaced).to_pylist())
    removed, updated = [], []
    for fragment in base.get_fragments():
        left = within_time(f"replacing rows of {table}", fragment.delete, condition)
        if left is None:
            removed.append(fragment.fragment_id)
        elif left != fragment.metadata:
            updated.append(left)
    transaction = Transaction(
        read_version=base.version,
        operation=LanceOperation.Update(
            removed_fragment_ids=removed,
            updated_fragments=updated,
            new_fragments=staged.transaction.operation.fragments,
            fields_for_preserving_frag_bitmap=_fields(base),
            update_mode="rewrite_rows",
        ),
    )
    kept = before.filter(pc.invert(replaced))
    return Staged(
        transaction,
        pa.chunked_array([*kept[key].chunks, *staged.keys.chunks], type=staged.keys.type),
        pa.chunked_array([*kept[ROW_HASH].chunks, *staged.hashes.chunks], type=HASH_FIELD.type),
    )


def _described(text: str) -> Any:
    from lance.fragment import FragmentMetadata

    return FragmentMetadata.from_json(text)


def _fields(base: "LanceDataset") -> list[int]:
    """Lance's numbers of the columns of a version, those inside of others too."""
    found, waiting = [], list(base.lance_schema.fields())
    while waiting:
        one = waiting.pop()
        found.append(one.id())
        waiting += one.children()
    return sorted(found)


def _check_fields(base: "LanceDataset", fragments: Sequence[Any], table: str) -> None:
    """Lance would take the numbers of columns as they are given, and read one column for another."""
    known = set(_fields(base))
    if any(not set(file.fields) <= known for one in fragments for file in one.files):
        raise SultanaError(
            f"Workers wrote rows of the table {table} for a version with other columns",
            "Nothing was committed: materialize its asset again",
            code="columns-differ",
        )


def _check_present(folder: TableFolder, written: Fragments) -> None:
    sizes = {one.path: one.size for one in folder.files(lance_folder.DATA)}
    for path, one in written.files.items():
        if path not in sizes:
            raise SultanaError(
                f"The file {path} that a worker wrote for {folder.uri} is not there",
                "Let all nodes share the data folder under the same path; if they do, materialize the asset again",
                code="path-not-shared",
            )
        if sizes[path] != one.size:
            raise SultanaError(
                f"The file {path} of {folder.uri} has {sizes[path]:,} bytes; the worker that made it wrote "
                f"{one.size:,}",
                "Look at the shared folder, and materialize the asset again",
                code="table-file-changed",
            )


@contextlib.contextmanager
def removed_on_error(folder: TableFolder, rows: Any) -> Iterator[None]:
    """Where `rows` are those of workers, and an error keeps them from being committed, their files are removed."""
    try:
        yield
    except BaseException:
        if isinstance(rows, Fragments):
            _remove(folder, rows)
        raise


def _remove(folder: TableFolder, written: Iterable[Written]) -> None:
    # Where the store fails there is no removal either: what made it fail is what is told.
    with contextlib.suppress(SultanaError, OSError):
        folder.remove([one.path for part in written for one in part.files])


def in_portions(
    folder: TableFolder, parts: Iterable[Written], is_enough: Callable[[int, int], bool]
) -> Iterator[Fragments]:
    """Parts in order, as many at once as it takes until `is_enough` says so of their rows, and of all rows before.

    On an error the files of those in hand are removed.
    """
    held: list[Written] = []
    rows = before = 0
    try:
        for part in parts:
            held.append(part)
            rows += part.rows
            if is_enough(rows, before):
                portion, held = Fragments(held), []
                before, rows = before + rows, 0
                yield portion
    except BaseException:
        _remove(folder, held)
        raise
    if held:
        yield Fragments(held)


def all_together(folder: TableFolder, parts: Iterable[Written]) -> Fragments:
    """All parts at once; on an error the files of those in hand are removed."""
    return next(in_portions(folder, parts, lambda rows, before: False), Fragments(()))


def target_of(folder: TableFolder, record: Record) -> Target:
    """Where workers write rows of the record's table."""
    return Target(folder, record.table, record.key, record.schema)


@contextlib.contextmanager
def awaited(lock: Path, timeout: float) -> Iterator[None]:
    """While this lasts, files in the table's folder may wait for their commit. `lock` is the table's lock file.

    Waits at most `timeout` seconds for a writer of the table: where one looks for files of no version, none begins.
    """
    with exclusive_lock(lock, timeout):
        handle = os.open(_mark(lock), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(handle)


def nothing_awaited(lock: Path) -> bool:
    """Whether no file waits for its commit, and none will while the caller holds the table's lock."""
    try:
        handle = os.open(_mark(lock), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _mark(lock: Path) -> Path:
    return lock.with_suffix(".fragments")
