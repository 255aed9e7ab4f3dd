"""The source files of a lineage, as its records name them: addresses, revisions, licences and hashes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assets.lineage.exports.curated import portable_name


@dataclass(frozen=True)
class SourceFiles:
    """A source that rows were read from. `address` and file names tell no path of this machine."""

    name: str
    address: str
    revision: str | None
    licence: str | None  # of rows that name none themselves
    files: tuple[tuple[str, str], ...]  # name, SHA-256
    split: str | None = None  # of benchmark sources


def sources_of(record: Mapping[str, Any]) -> list[SourceFiles]:
    """The sources that the record of `raw_instructions` or `benchmark_splits` names; of other assets none."""
    named = record["settings"].get("files", [])
    if isinstance(named, Mapping):
        return [found for split, ones in named.items() for found in _sources(ones, split)]
    return list(_sources(named, None))


def _sources(named: Iterable[Mapping[str, Any]], split: str | None) -> Iterator[SourceFiles]:
    for one in named:
        yield SourceFiles(
            name=one["name"],
            address=portable_name(one["uri"]),
            revision=one["revision"],
            licence=one["licence"] or one["settings"].get("licence"),
            files=tuple((portable_name(file["name"]), file["sha256"]) for file in one["files"]),
            split=split,
        )
