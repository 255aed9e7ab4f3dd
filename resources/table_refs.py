"""A table's declaration, who writes it, and the address of a version: what a write is told and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa

from resources.text import check_name


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

    @property
    def indexed(self) -> tuple[str, ...]:
        """Columns that rows are looked up by."""

    @property
    def searched(self) -> tuple[str, ...]:
        """Columns of text that is searched by its words; a dot leads into the structs of a list."""


@dataclass(frozen=True)
class Provenance:
    """Who writes: run id, asset key, and a key that is equal for equal work and for nothing else.

    `data_version` gives the data version that Dagster will show for the digest of what was written.
    """

    run_id: str
    asset_key: str
    idempotency_key: str
    data_version: Callable[[str], str] | None = None


@dataclass(frozen=True)
class TableRef:
    """The address of one version of a table, the Merkle root over its rows as `digest`, and its number of rows.

    `files_sha256` is `table_files.files_digest` of the files that it was written in.
    """

    table: str
    version: int
    digest: str
    rows: int
    tag: str
    files_sha256: str = ""

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
            str(value["files_sha256"]),
        )
