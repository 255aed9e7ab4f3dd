"""Reads of Lance tables at a fixed version: readers open the version they were given, never "the newest"."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from resources import lance_folder
from resources.commits import Commit, CommitLog
from resources.errors import SultanaError
from resources.reclaimed import reclaimed
from resources.row_hashes import ROW_HASH
from resources.table_folder import TableFolder, failing_store_explained
from resources.table_place import place_of
from resources.table_refs import TableRef
from resources.text import check_name
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

_READ_AHEAD_BYTES = 16 << 20


def ref_of(commit: Commit) -> TableRef:
    """What readers name the version of a commit by."""
    return TableRef(commit.table, commit.version, commit.digest, commit.rows, commit.tag, commit.files_sha256)


def _declared(dataset: "LanceDataset") -> list[str]:
    """The columns of a version without the rows' hashes, which only verification reads."""
    return [name for name in dataset.schema.names if name != ROW_HASH]


class TableVersions:
    """What the commit log in the folder `root` has acknowledged.

    `uri` says where the tables lie, `s3://BUCKET/PREFIX`; empty: as the log has recorded, and at first beside it.
    LanceDB opens the tables with `lancedb.connect(tables.where)`.
    """

    def __init__(self, root: Path, uri: str = "") -> None:
        self.root = Path(root).absolute()  # workers elsewhere are told of it
        self.root.mkdir(parents=True, exist_ok=True)
        self.commits = CommitLog(self.root / "commits.sqlite")
        self.place = place_of(self.commits, uri)

    @property
    def where(self) -> str:
        """The place of the tables, for people and for LanceDB."""
        return self.place.where

    def folder(self, table: str) -> TableFolder:
        """Where the files of a table lie."""
        return self.place.folder(check_name(table, "Table"))

    def path(self, table: str) -> Path:
        """The folder of a table on this machine. Raises SultanaError where the tables lie in an object store."""
        folder = self.folder(table)
        if folder.path is None:
            raise SultanaError(
                f"The tables lie in {self.where}, and content of rows is erased from tables on this machine only",
                "Retract without --erase: the rows are left out of all that is made from then on. To be rid of their "
                "content, take them out of the source, materialize again, let `sultana maintain` give the old versions "
                "up, and end what the bucket keeps of objects that were removed",
                code="not-on-object-store",
            )
        return folder.path

    def lock(self, table: str) -> Path:
        """The file that is locked by whoever writes the table."""
        return self.root / ".locks" / f"{check_name(table, 'Table')}.lock"

    def read(
        self, ref: TableRef, columns: Sequence[str] | None = None, filter: str | None = None
    ) -> pa.Table:
        """The rows of a version, all columns unless `columns` names some. Build `filter` with `id_filter`."""
        dataset = self.open(ref)
        wanted = list(columns) if columns else _declared(dataset)
        with self._damage_named(ref):
            return within_time(f"reading {ref.table}", dataset.to_table, columns=wanted, filter=filter)

    def batches(
        self,
        ref: TableRef,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        batch_size: int = 4096,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows in batches of at most `batch_size`, in memory one after the other."""
        dataset = self.open(ref)
        wanted = list(columns) if columns else _declared(dataset)
        # By default Lance reads ahead as fast as the disk goes: of a table of 600 MB, 400 lay in memory.
        batches = iter(
            dataset.to_batches(
                columns=wanted,
                filter=filter,
                batch_size=batch_size,
                batch_readahead=2,
                fragment_readahead=1,
                io_buffer_size=_READ_AHEAD_BYTES,
            )
        )
        while True:
            with self._damage_named(ref):
                batch = within_time(f"reading {ref.table}", next, batches, None)
            if batch is None:
                return
            yield batch

    @contextlib.contextmanager
    def _damage_named(self, ref: TableRef) -> Iterator[None]:
        """Lance's errors about files that it cannot read leave the block as SultanaError; it has no class for them."""
        try:
            with failing_store_explained(self.folder(ref.table)):
                yield
        except (OSError, pa.ArrowInvalid) as error:
            if isinstance(error, OSError) or "External error" in str(error):
                raise self._unreadable(ref.table, ref.version, str(error)) from error
            raise

    def schema(self, ref: TableRef) -> pa.Schema:
        """The columns of a version, as their record declares them."""
        dataset = self.open(ref)
        return pa.schema([dataset.schema.field(name) for name in _declared(dataset)])

    def open(self, ref: TableRef) -> "LanceDataset":
        """A read-only Lance dataset at the version of `ref`.

        Raises SultanaError where the version is gone, unreadable, or has another content than `ref` says.
        """
        folder = self.folder(ref.table)
        try:
            with failing_store_explained(folder):
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
        return ref_of(commit) if commit and lance_folder.versions_on_disk(self.folder(table)) else None

    def versions(self, table: str) -> list[TableRef]:
        """All acknowledged versions of `table`, the oldest first."""
        return [ref_of(commit) for commit in self.commits.history(check_name(table, "Table"))]

    def is_reclaimed(self, ref: TableRef) -> bool:
        """Whether this version was given up by `sultana maintain`: it is gone, or will be."""
        return self._when_reclaimed(ref.table, ref.version) is not None

    def _holds(self, commit: Commit) -> bool:
        """Whether the version of a commit can be read and is the one that was acknowledged."""
        stored = lance_folder.readable_properties(self.folder(commit.table), commit.version)
        return stored is not None and stored.get(lance_folder.DIGEST) == commit.digest

    def _when_reclaimed(self, table: str, version: int) -> str | None:
        gone = reclaimed(self.commits)
        holders = (
            [commit for commit in self.commits.history(table) if commit.version == version] if gone else []
        )
        return gone.get(holders[-1].sequence) if holders else None

    def _unreadable(self, table: str, version: int, reason: str) -> SultanaError:
        if when := self._when_reclaimed(table, version):
            return SultanaError(
                f"Version {version} of the table {table} was reclaimed by `sultana maintain` on {when[:10]}: nothing "
                "that is kept depended on it",
                "Materialize what needs it again, or restore it from a backup",
                code="table-version-reclaimed",
            )
        return SultanaError(
            f"Version {version} of the table {table} in {self.where} cannot be read: {reason}",
            f"Restore {self.folder(table).uri} from a backup, or move it away and materialize its asset again",
            code="table-version-unreadable",
        )
