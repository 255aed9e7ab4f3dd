"""The one door for Lance writes.

A write is: writer lock -> drop heads that cannot be read -> rows to disk, each with its hash (or written and synced
by workers before: table_fragments.py), keys checked -> fence ->
Lance commit (carrying the idempotency key, and what it was built upon) -> indices -> tag -> sync of the file system ->
row in the commit log, with the hash of every file. A version's digest is the Merkle root over its keys and row hashes.
Only the last step makes the version count. A kill before the Lance commit leaves nothing; a kill
between the two leaves a version that the same write, run again, adopts by its idempotency key, if what it was built
upon is still the version acknowledged last.

The tables lie beside the log, or in an object store (`table_place`). There an object that the store has taken is
durable and whole, so that nothing is synced; locks and log stay on this machine.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from resources import lance_folder
from resources.commits import Commit
from resources.errors import SultanaError
from resources.files import disk_full_explained, exclusive_lock, failing_disk_explained, sync_filesystem
from resources.findings import Finding
from resources.staging import stage_stream, stage_upsert
from resources.table_files import StoredFile, files_of
from resources.table_folder import TableFolder, failing_store_explained
from resources.table_fragments import Fragments, Target, awaited, removed_on_error, stage_fragments, target_of
from resources.table_indices import make_indices
from resources.table_refs import Provenance, Record, TableRef
from resources.table_versions import TableVersions, ref_of
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

Mode = Literal["overwrite", "append", "upsert"]
Rows: TypeAlias = pa.Table | Iterable[pa.RecordBatch] | Fragments


class LanceTables(TableVersions):
    """The Lance tables of one commit log, to be read and written.

    `root` and `uri` are as in TableVersions. `fence` is called just before a version becomes visible and
    raises where this process may not write any more (its run was ended meanwhile). `lock_timeout` is the
    longest wait, in seconds, for another writer of the same table.
    """

    def __init__(
        self,
        root: Path,
        fence: Callable[[], None] | None = None,
        *,
        lock_timeout: float = 600.0,
        uri: str = "",
    ) -> None:
        super().__init__(root, uri)
        self._fence = fence or (lambda: None)
        self._lock_timeout = lock_timeout

    def write(
        self,
        record: Record,
        rows: Rows,
        *,
        mode: Mode,
        provenance: Provenance,
        metadata: Mapping[str, str] | None = None,
    ) -> TableRef:
        """Write `rows` as a new version of the record's table and acknowledge it.

        Batches are streamed for overwrite and append; an upsert holds them in memory. Fragments are written already,
        inside the block of `fragments`, and are removed where an error keeps them from being committed. Append and
        upsert start from the version acknowledged last. `metadata` becomes Arrow schema metadata. A
        write whose idempotency key is acknowledged already returns that version and reads no row.

        Raises SultanaError, with the acknowledged version intact, where the rows do not fit the
        schema, a key repeats, the disk is full, the lock is held too long, or the fence is closed.
        """
        folder = self.folder(record.table)
        with (
            disk_full_explained(self.root),
            failing_disk_explained(self.root),
            failing_store_explained(folder),
            exclusive_lock(self.lock(record.table), self._lock_timeout),
        ):
            self.place.confirm(record.table)
            known = self.commits.by_idempotency_key(record.table, provenance.idempotency_key)
            if known is not None and self._is_intact(known):
                return ref_of(known)
            on_disk = lance_folder.versions_on_disk(folder)
            pointer = self._pointer(record.table, on_disk)
            adopted = self._heal(folder, on_disk, pointer, provenance)
            if adopted is not None:
                version, stored_digest = adopted
                self._fence()
            else:
                version, stored_digest = self._commit(record, rows, mode, provenance, metadata, pointer)
            dataset = lance_folder.open_version(folder, version)
            if mode == "upsert" or adopted is not None:
                keys = lance_folder.read_keys(dataset, record.key)
                lance_folder.check_unique(keys, record.key, record.table)
            dataset = make_indices(dataset, folder, record, self._fence)
            written = rows.files if isinstance(rows, Fragments) else {}
            return self._acknowledge(record, dataset, stored_digest, provenance, pointer, written)

    @contextlib.contextmanager
    def fragments(self, record: Record) -> Iterator[Target]:
        """Where workers write rows of the record's table for a later `write`; until the block ends, what they wrote is
        not taken for what a killed write left."""
        with awaited(self.lock(record.table), self._lock_timeout):
            yield target_of(self.folder(record.table), record)

    def locked(self, table: str, wait: float | None = None) -> contextlib.AbstractContextManager[None]:
        """While this lasts, nobody else writes the table; waits for `wait` seconds at most, or as long as a write."""
        return exclusive_lock(self.lock(table), self._lock_timeout if wait is None else wait)

    def check(self, named: Collection[tuple[str, int, str]] | None = ()) -> list[Finding]:
        """Look for damage without changing anything. Empty where all is well. `named` is as in `check_tables`."""
        from resources.table_checks import check_tables

        return check_tables(self, named)

    def _is_intact(self, commit: Commit) -> bool:
        if self._when_reclaimed(commit.table, commit.version):
            return False
        return self._holds(commit)

    def _pointer(self, table: str, on_disk: Sequence[int]) -> Commit | None:
        """The version acknowledged last. A folder that the user removed starts anew, though the log remembers it.

        Raises SultanaError where that version is missing and older ones are not: writing on would take its number.
        """
        last = self.commits.head(table)
        if last is None or last.version in on_disk:
            return last
        for commit in self.commits.history(table):
            if commit.version in on_disk and self._holds(commit):
                raise self._unreadable(table, last.version, "its manifest is missing")
        return None

    def _heal(
        self, folder: TableFolder, on_disk: Sequence[int], pointer: Commit | None, provenance: Provenance
    ) -> tuple[int, str] | None:
        """Drop unreadable versions above the pointer; the version and digest to adopt, if any."""
        adopted = None
        for version in on_disk:
            stored = lance_folder.readable_properties(folder, version)
            if pointer is not None and version <= pointer.version:
                if stored is None:
                    raise self._unreadable(folder.table, version, "the file is damaged")
                break
            if stored is None:
                lance_folder.remove_version(folder, version)
            elif (
                adopted is None
                and self._is_same_work(stored, pointer, provenance)
                and lance_folder.is_direct(folder, version)
            ):
                adopted = (version, stored[lance_folder.DIGEST])
        return adopted

    @staticmethod
    def _is_same_work(stored: Mapping[str, str], pointer: Commit | None, provenance: Provenance) -> bool:
        """Whether a version that nobody acknowledged is what this write would make: its rows, upon the same rows."""
        bases = {""} if pointer is None else {"", str(pointer.sequence)}
        same_key = stored.get(lance_folder.IDEMPOTENCY_KEY) == provenance.idempotency_key
        return same_key and stored.get(lance_folder.BASE) in bases

    def _commit(
        self,
        record: Record,
        rows: Rows,
        mode: Mode,
        provenance: Provenance,
        metadata: Mapping[str, str] | None,
        pointer: Commit | None,
    ) -> tuple[int, str]:
        """Write the rows and commit them to Lance; the new version and its digest."""
        folder = self.folder(record.table)
        schema = lance_folder.declare_key(record.schema, record.key)
        base = self._base(record, pointer, metadata) if mode != "overwrite" and pointer else None
        new_schema = schema.with_metadata({**(schema.metadata or {}), **(metadata or {})})
        with (
            lance_folder.new_files_removed_on_error(folder, lance_folder.DATA, lance_folder.DELETIONS),
            removed_on_error(folder, rows),
        ):
            if isinstance(rows, Fragments):
                staged = stage_fragments(
                    folder, base, record.table, record.key, new_schema, rows, upsert=mode == "upsert"
                )
            elif base is not None and mode == "upsert":
                batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
                staged = stage_upsert(base, record.table, record.key, schema, batches)
            else:
                batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
                staged = stage_stream(folder, base, record.table, record.key, new_schema, batches)
            digest = staged.root()
            staged.transaction.transaction_properties = {
                lance_folder.IDEMPOTENCY_KEY: provenance.idempotency_key,
                lance_folder.RUN_ID: provenance.run_id,
                lance_folder.ASSET_KEY: provenance.asset_key,
                lance_folder.DIGEST: digest,
                lance_folder.BASE: str(pointer.sequence) if base is not None and pointer else "",
                lance_folder.COMMIT_MESSAGE: f"{mode} by {provenance.asset_key}",
            }
            if provenance.data_version is not None:
                staged.transaction.transaction_properties[lance_folder.DATA_VERSION] = (
                    provenance.data_version(digest)
                )
            self._fence()
        upon = base.version if base is not None else None
        committed = lance_folder.commit(folder, staged.transaction, f"committing {record.table}", upon)
        return committed.version, digest

    def _base(self, record: Record, pointer: Commit, metadata: Mapping[str, str] | None) -> "LanceDataset":
        """The acknowledged version, brought back to the top where others lie above it."""
        folder = self.folder(record.table)
        if not self.schema(ref_of(pointer)).equals(record.schema, check_metadata=False):
            raise SultanaError(
                f"The table {record.table} in {self.where} has other columns than this release declares",
                f"Move {folder.uri} away and materialize its asset again",
                code="columns-differ",
            )
        dataset = lance_folder.restore_version(folder, pointer.version)
        stored = dataset.schema.metadata or {}
        if any(stored.get(name.encode()) != value.encode() for name, value in (metadata or {}).items()):
            lance_folder.name_content(folder, dataset, metadata or {})
        return dataset

    def _acknowledge(
        self,
        record: Record,
        dataset: "LanceDataset",
        digest: str,
        provenance: Provenance,
        pointer: Commit | None,
        written: Mapping[str, StoredFile],
    ) -> TableRef:
        folder = self.folder(record.table)
        stem = lance_folder.tag_stem(provenance.asset_key, digest)
        tag = lance_folder.tag_version(folder, dataset, stem)
        if folder.path is not None:
            try:
                within_time(f"syncing {record.table}", sync_filesystem, folder.path)
            except OSError:
                self._drop_unsynced(folder, pointer.version if pointer else 0)
                raise
        known = {**({one.path: one for one in self.commits.files(pointer)} if pointer else {}), **written}
        files = within_time(f"hashing {record.table}", files_of, dataset, folder, known)
        self._fence()
        commit = within_time(
            f"acknowledging {record.table}",
            self.commits.record,
            record.table,
            dataset.version,
            digest,
            within_time(f"counting {record.table}", dataset.count_rows),
            record.key,
            provenance.idempotency_key,
            provenance.run_id,
            provenance.asset_key,
            tag,
            files,
        )
        self.place.note(commit)
        return ref_of(commit)

    @staticmethod
    def _drop_unsynced(folder: TableFolder, pointed: int) -> None:
        """After a failed sync, versions above the pointer are none to adopt: the system counts their pages as
        written, whether the disk has them or not, and a second sync would say nothing."""
        with contextlib.suppress(OSError):  # the disk is failing: what could not be synced is what is told
            for version in lance_folder.versions_on_disk(folder):
                if version > pointed:
                    lance_folder.remove_version(folder, version)
