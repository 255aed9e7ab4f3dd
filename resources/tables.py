"""The one door for Lance writes, and reads at a fixed version.

A write is: writer lock -> drop heads that cannot be read -> rows to disk, keys checked -> fence ->
Lance commit (carrying the idempotency key) -> tag -> sync of the file system -> row in the commit log.
Only the last step makes the version count. A kill before the Lance commit leaves nothing; a kill
between the two leaves a version that the same write, run again, adopts by its idempotency key.
Readers open the version they were given, never "the newest".
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa

from resources import lance_folder
from resources.commits import Commit, CommitLog
from resources.errors import SultanaError
from resources.files import disk_full_explained, exclusive_lock, sync_filesystem
from resources.findings import Finding
from resources.staging import stage_stream, stage_upsert
from resources.text import check_name
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

Mode = Literal["overwrite", "append", "upsert"]
_DIGEST = re.compile(r"[0-9a-f]{12,128}")
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]+")
_TAG_NAME_LENGTH = 64


class Record(Protocol):
    """A table's declaration: its name, the column that identifies a row, its schema."""

    @property
    def table(self) -> str:
        """The table's name."""

    @property
    def key(self) -> str:
        """The column that identifies a row."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""


@dataclass(frozen=True)
class Provenance:
    """Who writes: run id, asset key, and a key that is equal for equal work and for nothing else."""

    run_id: str
    asset_key: str
    idempotency_key: str


@dataclass(frozen=True)
class TableRef:
    """The address of one version of a table, the digest of its content, and its number of rows."""

    table: str
    version: int
    digest: str
    rows: int
    tag: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "TableRef":
        """The reverse of `to_json`."""
        return cls(
            check_name(value["table"], "Table"),
            int(value["version"]),
            str(value["digest"]),
            int(value["rows"]),
            str(value["tag"]),
        )


def _ref(commit: Commit) -> TableRef:
    return TableRef(commit.table, commit.version, commit.digest, commit.rows, commit.tag)


class LanceTables:
    """The Lance tables in one folder, and the commit log beside them.

    `fence` is called just before a version becomes visible and raises where this process may not
    write any more (its run was ended meanwhile). `lock_timeout` is the longest wait, in seconds, for
    another writer of the same table. LanceDB opens the folder with `lancedb.connect(root)`.
    """

    def __init__(
        self, root: Path, fence: Callable[[], None] | None = None, *, lock_timeout: float = 600.0
    ) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.commits = CommitLog(self.root / "commits.sqlite")
        self._fence = fence or (lambda: None)
        self._lock_timeout = lock_timeout

    def path(self, table: str) -> Path:
        """The folder of a table."""
        return self.root / f"{check_name(table, 'Table')}.lance"

    def write(
        self,
        record: Record,
        rows: pa.Table | Iterable[pa.RecordBatch],
        *,
        mode: Mode,
        digest: str | Callable[[], str],
        provenance: Provenance,
        metadata: Mapping[str, str] | None = None,
    ) -> TableRef:
        """Write `rows` as a new version of the record's table and acknowledge it.

        Batches are streamed for overwrite and append; an upsert holds them in memory. Append and
        upsert start from the version acknowledged last. A callable `digest` is called once all rows
        have passed. `metadata` becomes Arrow schema metadata. A write whose idempotency key is
        acknowledged already returns that version and reads no row.

        Raises SultanaError, with the acknowledged version intact, where the rows do not fit the
        schema, a key repeats, the disk is full, the lock is held too long, or the fence is closed.
        """
        folder = self.path(record.table)
        lock = self.root / ".locks" / f"{record.table}.lock"
        with disk_full_explained(self.root), exclusive_lock(lock, self._lock_timeout):
            known = self.commits.by_idempotency_key(record.table, provenance.idempotency_key)
            if known is not None and self._is_intact(known):
                return _ref(known)
            # A folder that the user removed starts anew, though the log remembers its versions.
            on_disk = lance_folder.versions_on_disk(folder)
            pointer = self.commits.head(record.table) if on_disk else None
            adopted = self._heal(folder, pointer.version if pointer else 0, provenance)
            if adopted is not None:
                version, stored_digest = adopted
                self._fence()
            else:
                version, stored_digest = self._commit(
                    record, rows, mode, digest, provenance, metadata, pointer
                )
            dataset = lance_folder.open_version(folder, version)
            if mode == "upsert" or adopted is not None:
                keys = lance_folder.read_keys(dataset, record.key)
                lance_folder.check_unique(keys, record.key, record.table)
            return self._acknowledge(record, dataset, stored_digest, provenance)

    def read(
        self, ref: TableRef, columns: Sequence[str] | None = None, filter: str | None = None
    ) -> pa.Table:
        """The rows of a version, all columns unless `columns` names some. Build `filter` with `id_filter`."""
        wanted = list(columns) if columns else None
        return within_time(f"reading {ref.table}", self.open(ref).to_table, columns=wanted, filter=filter)

    def batches(
        self,
        ref: TableRef,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        batch_size: int = 4096,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows in batches of at most `batch_size`, in memory one after the other."""
        yield from self.open(ref).to_batches(
            columns=list(columns) if columns else None, filter=filter, batch_size=batch_size
        )

    def open(self, ref: TableRef) -> "LanceDataset":
        """A read-only Lance dataset at the version of `ref`.

        Raises SultanaError where the version is gone, unreadable, or has another content than `ref` says.
        """
        folder = self.path(ref.table)
        try:
            dataset = lance_folder.open_version(folder, ref.version)
            stored = lance_folder.properties(dataset).get(lance_folder.DIGEST)
        except (ValueError, OSError, RuntimeError) as error:
            raise self._unreadable(ref.table, ref.version, str(error)) from error
        if stored != ref.digest:
            problem = f"its digest is {stored}, not {ref.digest}: the table was replaced or rolled back"
            raise self._unreadable(ref.table, ref.version, problem)
        return dataset

    def head(self, table: str) -> TableRef | None:
        """The version of `table` acknowledged last; None where there is none or its folder was removed."""
        commit = self.commits.head(check_name(table, "Table"))
        return _ref(commit) if commit and lance_folder.versions_on_disk(self.path(table)) else None

    def versions(self, table: str) -> list[TableRef]:
        """All acknowledged versions of `table`, the oldest first."""
        return [_ref(commit) for commit in self.commits.history(check_name(table, "Table"))]

    def erase(self, table: str, key: str, ids: Collection[str], columns: Sequence[str]) -> int:
        """Empties `columns` of the rows whose `key` is one of `ids`, in every version; how many stored rows.

        Versions, ids, tags and digests stay. Raises SultanaError as `lance_erasure.erase_rows` does.
        """
        from resources.lance_erasure import erase_rows

        with exclusive_lock(self.root / ".locks" / f"{table}.lock", self._lock_timeout):
            return erase_rows(self.path(table), key, ids, columns)

    def check(self) -> list[Finding]:
        """Look for damage without changing anything. Empty where all is well."""
        from resources.table_checks import check_tables

        return check_tables(self.root, self.commits)

    def _unreadable(self, table: str, version: int, reason: str) -> SultanaError:
        return SultanaError(
            f"Version {version} of the table {table} in {self.root} cannot be read: {reason}",
            f"Restore {self.path(table)} from a backup, or move it away and materialize its asset again",
        )

    def _is_intact(self, commit: Commit) -> bool:
        stored = lance_folder.readable_properties(self.path(commit.table), commit.version)
        return stored is not None and stored.get(lance_folder.DIGEST) == commit.digest

    def _heal(self, folder: Path, pointed: int, provenance: Provenance) -> tuple[int, str] | None:
        """Drop unreadable versions above the pointer; the version and digest to adopt, if any."""
        adopted = None
        for version in lance_folder.versions_on_disk(folder):
            stored = lance_folder.readable_properties(folder, version)
            if version <= pointed:
                if stored is None:
                    raise self._unreadable(folder.stem, version, "the file is damaged")
                break
            if stored is None:
                lance_folder.remove_version(folder, version)
            elif stored.get(lance_folder.IDEMPOTENCY_KEY) == provenance.idempotency_key and adopted is None:
                adopted = (version, stored[lance_folder.DIGEST])
        return adopted

    def _commit(
        self,
        record: Record,
        rows: pa.Table | Iterable[pa.RecordBatch],
        mode: Mode,
        digest: str | Callable[[], str],
        provenance: Provenance,
        metadata: Mapping[str, str] | None,
        pointer: Commit | None,
    ) -> tuple[int, str]:
        """Write the rows and commit them to Lance; the new version and its digest."""
        import lance

        folder = self.path(record.table)
        schema = lance_folder.declare_key(record.schema, record.key)
        base = self._base(record, pointer, metadata) if mode != "overwrite" and pointer else None
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        with lance_folder.new_files_removed_on_error(folder):
            if base is not None and mode == "upsert":
                transaction = stage_upsert(base, record.table, record.key, schema, batches)
            else:
                new_schema = schema.with_metadata({**(schema.metadata or {}), **(metadata or {})})
                transaction = stage_stream(folder, base, record.table, record.key, new_schema, batches)
            final_digest = digest() if callable(digest) else digest
            if not _DIGEST.fullmatch(final_digest):
                raise ValueError(f"not a hexadecimal digest of at least 12 digits: {final_digest!r}")
            transaction.transaction_properties = {
                lance_folder.IDEMPOTENCY_KEY: provenance.idempotency_key,
                lance_folder.RUN_ID: provenance.run_id,
                lance_folder.ASSET_KEY: provenance.asset_key,
                lance_folder.DIGEST: final_digest,
                lance_folder.COMMIT_MESSAGE: f"{mode} by {provenance.asset_key}",
            }
            self._fence()
        committed = within_time(
            f"committing {record.table}", lance.LanceDataset.commit, str(folder), transaction
        )
        return committed.version, final_digest

    def _base(self, record: Record, pointer: Commit, metadata: Mapping[str, str] | None) -> "LanceDataset":
        """The acknowledged version, brought back to the top where others lie above it."""
        folder = self.path(record.table)
        if not self.open(_ref(pointer)).schema.equals(record.schema, check_metadata=False):
            raise SultanaError(
                f"The table {record.table} in {self.root} has other columns than this release declares",
                f"Move {folder} away and materialize its asset again",
            )
        dataset = lance_folder.open_version(folder, lance_folder.restore_version(folder, pointer.version))
        stored = dataset.schema.metadata or {}
        if any(stored.get(name.encode()) != value.encode() for name, value in (metadata or {}).items()):
            dataset.update_schema_metadata(dict(metadata or {}))
        return dataset

    def _acknowledge(
        self, record: Record, dataset: "LanceDataset", digest: str, provenance: Provenance
    ) -> TableRef:
        folder = self.path(record.table)
        name = _NOT_IN_TAGS.sub("-", provenance.asset_key)[:_TAG_NAME_LENGTH]
        tag = lance_folder.tag_version(folder, dataset, f"{name}-{digest[:12]}")
        sync_filesystem(folder)
        commit = self.commits.record(
            record.table,
            dataset.version,
            digest,
            dataset.count_rows(),
            record.key,
            provenance.idempotency_key,
            provenance.run_id,
            provenance.asset_key,
            tag,
        )
        return _ref(commit)
