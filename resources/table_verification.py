"""Whether a version of a table is, bit for bit and row for row, what was acknowledged when it was written.

Files first, at the speed of the disk: where every one is as it was written, by hashes that whoever refers to the
version recorded elsewhere, its rows are those that were written. Where they are not (content was erased since, or
nobody recorded them), or where it is asked for, each row's hash is computed from its values, and the Merkle root
over all of them held against the digest by which the version is known. Nothing that is stored beside the rows is
believed: a row and its hash, a file and its entry in the commit log may have been changed together.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from resources import lance_folder
from resources.commits import Commit
from resources.errors import SultanaError
from resources.findings import Finding
from resources.merkle import Leaves
from resources.rewritten import files_now
from resources.row_hashes import ROW_HASH, hash_rows, hash_values
from resources.table_files import changed_files, files_digest
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import escape_terminal

NAMED = 5
"""Rows that a finding names; of more it gives the number."""
_RESTORE = "Restore the table's folder from a backup, or materialize its asset again"
_BATCH = 16_384


@dataclass
class Verified:
    """What was looked at, and what is wrong with it."""

    rows: int = 0
    hashed_rows: int = 0  # of them, those whose values were read and hashed
    files: int = 0
    size: int = 0  # bytes of those files
    problems: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Erasure:
    """Rows of a table whose content is on record as erased, and the columns that are empty in them since."""

    keys: frozenset[str]
    columns: tuple[str, ...]

    def excuses(self, rows: pa.RecordBatch, key: str) -> set[str]:
        """Those of these rows that are erased and empty: an erasure is no cover for other content."""
        wanted = rows.filter(pc.is_in(rows[key], value_set=pa.array(sorted(self.keys), pa.string())))
        return {
            row[key]
            for row in wanted.select([key, *self.columns]).to_pylist()
            if not any(_holds(row[name]) for name in self.columns)
        }


def _holds(value: Any) -> bool:
    if isinstance(value, list):
        return any(_holds(one["content"] if isinstance(one, dict) else one) for one in value)
    return bool(value)


def verify_version(
    tables: LanceTables,
    ref: TableRef,
    progress: Callable[[int], object] = lambda rows: None,
    erasure: Erasure | None = None,
    every_row: bool = False,
) -> Verified:
    """Recompute the hashes of one version from stored bytes; `progress` is told the number of rows of each batch.

    With `every_row` those of its rows even where its files are, bit for bit, those that `ref` names.
    Of rows whose content is gone on purpose (`erasure`) the hash that was stored with them stands.
    """
    found, name = Verified(), f"{ref.table} version {ref.version}"

    def problem(text: str, remedy: str = _RESTORE) -> Verified:
        found.problems.append(Finding(name, text, remedy))
        return found

    commit = _acknowledged(tables, ref)
    if commit is None:
        return problem(
            "the commit log does not know it", "Restore the commit log and the tables from a backup"
        )
    if commit.digest != ref.digest:
        return problem(
            f"the commit log says that its digest is {commit.digest}; it was recorded as {ref.digest}",
            "Restore the commit log from a backup",
        )
    folder = tables.folder(ref.table)
    try:
        files = files_now(tables.commits, ref.table, tables.commits.files(commit))
    except SultanaError as error:
        return problem(error.problem, error.remedy)
    found.files, found.size = len(files), sum(one.size for one in files)
    for path, what in changed_files(folder, files).items():
        problem(f"its file {path} {what}")
    if found.problems:
        return found  # a damaged file can crash the reader of it
    if lance_folder.tags(folder).get(commit.tag) != commit.version:
        problem(f"its tag {commit.tag} is missing or was moved", f"Tag version {commit.version} again")
    if not every_row and ref.files_sha256 == files_digest(files):
        found.rows = commit.rows
        progress(found.rows)
        return found
    try:
        dataset = tables.open(ref)
    except SultanaError as error:
        return problem(error.problem, error.remedy)
    if ROW_HASH not in dataset.schema.names:
        return problem("its rows carry no hashes")
    columns = [column for column in dataset.schema.names if column != ROW_HASH]
    leaves = Leaves(commit.rows)
    wrong: list[str] = []
    for batch in dataset.to_batches(batch_size=_BATCH):
        own = hash_rows(batch, columns)
        if not own.equals(batch[ROW_HASH]):
            others = pc.not_equal(own, batch[ROW_HASH])
            excused = erasure.excuses(batch.filter(others), commit.key) if erasure else set()
            wrong += [name for name in batch[commit.key].filter(others).to_pylist() if name not in excused]
            if excused:
                stands = pc.is_in(batch[commit.key], value_set=pa.array(sorted(excused), pa.string()))
                own = pc.if_else(stands, batch[ROW_HASH], own)
        leaves.add(hash_values(batch[commit.key]), own)
        found.rows += batch.num_rows
        progress(batch.num_rows)
    if wrong:
        problem(f"{len(wrong):,} rows do not have the content that they had when written: {_some(wrong)}")
    if found.rows != commit.rows:
        problem(f"it has {found.rows:,} rows; {commit.rows:,} were written")
    found.hashed_rows = found.rows
    if leaves.root() != ref.digest and not found.problems:
        problem("its rows were exchanged, added or removed: they do not give the digest that was recorded")
    return found


def _acknowledged(tables: LanceTables, ref: TableRef) -> Commit | None:
    """The last acknowledgement of this version: a folder that was rebuilt gives its numbers again."""
    mine = [one for one in tables.commits.history(ref.table) if one.version == ref.version]
    return mine[-1] if mine else None


def _some(names: list[str]) -> str:
    told = ", ".join(escape_terminal(name, 60) for name in sorted(names)[:NAMED])
    return f"{told}, …" if len(names) > NAMED else told
