"""Sources in, rows of RAW_INSTRUCTIONS out: as they were found, good and bad, in the order of the files."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.instructions.file_rows import OnBadFile, Progress, RawRow, rows_of_file
from assets.instructions.rows import Limits
from assets.instructions.sources import Hashes, SourceFile, check_unchanged, resolve, shown_uri
from assets.instructions.specs import PRIVATE, FileCounts, ReadCounts, SourceSpec
from assets.records import RAW_INSTRUCTIONS
from resources.errors import SultanaError
from resources.text import escape_terminal

__all__ = [
    "FileCounts",
    "RawRow",
    "ReadCounts",
    "SourceSpec",
    "check_fingerprint",
    "read_source",
    "read_sources",
    "read_sources_in_batches",
    "source_fingerprint",
]

_BATCH_BYTES = 32 << 20


def read_sources(
    specs: Sequence[SourceSpec],
    *,
    limits: Limits | None = None,
    on_bad_file: OnBadFile = "fail",
    counts: ReadCounts | None = None,
    on_progress: Progress | None = None,
) -> Iterator[RawRow]:
    """Rows of RAW_INSTRUCTIONS of all sources, in order; bad rows come with their problem.

    `on_bad_file`: "fail" raises SultanaError for a file that cannot be read; "quarantine" makes it one row
    with the problem `unreadable_file` (behind the rows read before the damage) and goes on. A missing
    file is always an error. Raises SultanaError for a file without rows (see `allow_empty`) and for one
    that changes while it is read.
    """
    check_names(specs)
    counts = ReadCounts() if counts is None else counts
    seen: set[str] = set()
    for spec in specs:
        yield from _read(spec, limits or Limits(), on_bad_file, counts, on_progress, seen)


def read_source(
    spec: SourceSpec, limits: Limits | None = None, on_progress: Progress | None = None
) -> Iterator[RawRow]:
    """Rows of RAW_INSTRUCTIONS of one source: `read_sources` for one."""
    return read_sources([spec], limits=limits, on_progress=on_progress)


def read_sources_in_batches(
    specs: Sequence[SourceSpec],
    *,
    batch_rows: int = 4096,
    limits: Limits | None = None,
    on_bad_file: OnBadFile = "fail",
    counts: ReadCounts | None = None,
    on_progress: Progress | None = None,
) -> Iterator[pa.RecordBatch]:
    """`read_sources` as record batches of RAW_INSTRUCTIONS.schema, of at most about 32 MB of text each.

    Give `counts` to follow what is read.
    """
    rows: list[RawRow] = []
    size = 0
    for row in read_sources(
        specs, limits=limits, on_bad_file=on_bad_file, counts=counts, on_progress=on_progress
    ):
        rows.append(row)
        size += sum(len(turn["content"]) for turn in row["messages"] or ())
        if len(rows) >= batch_rows or size > _BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(rows, schema=RAW_INSTRUCTIONS.schema)
            rows, size = [], 0
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=RAW_INSTRUCTIONS.schema)


def source_fingerprint(specs: Sequence[SourceSpec], hashes: Hashes | None = None) -> list[dict[str, Any]]:
    """What the rows of the sources depend on: equal fingerprints, equal rows.

    Each source's name, address, revision, settings, and the names and SHA-256 of its files. Files are
    hashed, not parsed; those behind an fsspec address are fetched for it. Raises SultanaError.
    """
    check_names(specs)
    fingerprint = []
    for spec in specs:
        with source_files(spec, hashes) as files:
            settings = {
                name: value
                for name, value in asdict(spec).items()
                if name not in ("name", "uri", "hub_mirror") and (name, value) != ("private", PRIVATE[0])
            }
            fingerprint.append(
                {
                    "name": spec.name,
                    "uri": shown_uri(spec.uri),
                    "revision": next((one.revision for one in files), None),
                    "licence": next((one.licence for one in files), None),
                    "settings": settings,
                    "files": [{"name": one.name, "sha256": one.sha256} for one in files],
                }
            )
    return fingerprint


def check_fingerprint(fingerprint: Sequence[Mapping[str, Any]], counts: ReadCounts) -> None:
    """Raise SultanaError where the files that were read are not those of `source_fingerprint`.

    They are resolved twice, and what is recorded as read must be what was.
    """
    told = [
        (source["name"], file["name"], file["sha256"]) for source in fingerprint for file in source["files"]
    ]
    read = [(one.source, one.file, one.sha256) for one in counts.files]
    if told != read:
        source, file, _ = sorted(set(told) ^ set(read))[0]
        raise SultanaError(
            f"{file} of the source '{source}' changed between being looked at and being read",
            "Read it again when nothing writes to it any more",
            code="source-changed",
        )


@contextmanager
def source_files(
    spec: SourceSpec, hashes: Hashes | None = None, copies: Path | None = None
) -> Iterator[list[SourceFile]]:
    """The files of a source; copies of remote ones are deleted afterwards. `hashes`: those known already; `copies`:
    the folder to copy to, else the system's for temporary files."""
    with tempfile.TemporaryDirectory(prefix="sultana-source-", dir=copies) as folder:
        yield resolve(
            spec.uri,
            downloads=Path(folder),
            revision=spec.revision,
            split=spec.split,
            subset=spec.subset,
            hub_mirror=Path(spec.hub_mirror) if spec.hub_mirror else None,
            hashes=hashes,
        )


def check_names(specs: Sequence[SourceSpec]) -> None:
    """Raises SultanaError where two sources have one name."""
    names = Counter(spec.name for spec in specs)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice:
        raise SultanaError(
            f"Two sources are named '{twice}'", "Give every source a name of its own", code="name-twice"
        )


def _read(
    spec: SourceSpec,
    limits: Limits,
    on_bad_file: OnBadFile,
    counts: ReadCounts,
    on_progress: Progress | None,
    seen: set[str],
) -> Iterator[RawRow]:
    with source_files(spec) as files:
        first = len(counts.files)
        for file in files:
            count = FileCounts(spec.name, file.name, file.sha256)
            counts.files.append(count)
            # Copies of one file have equal hashes, and each row still needs an id of its own.
            copy = f"{spec.name}:{file.name}:" if file.sha256 in seen else ""
            seen.add(file.sha256)
            yield from rows_of_file(
                spec,
                file,
                count,
                copy=copy,
                limits=limits,
                on_bad_file=on_bad_file,
                on_progress=on_progress,
                on_error=partial(check_unchanged, file, spec.name),
            )
            check_unchanged(file, spec.name)
            if on_progress:
                on_progress(spec.name, file.name, count.rows)
            check_not_empty(spec, count)
        check_scores(spec, counts.files[first:])


def check_not_empty(spec: SourceSpec, count: FileCounts) -> None:
    """Raises SultanaError where a file that was read has no rows and its source does not allow that."""
    if count.rows == 0 and not spec.allow_empty:
        raise SultanaError(
            f"{count.file} of the source '{spec.name}' has no rows",
            "Check the file, or set 'allow_empty' of the source if that is right",
            code="source-empty",
        )


def check_scores(spec: SourceSpec, counts: Sequence[FileCounts]) -> None:
    """Raises SultanaError where a score field that the source names holds a number in none of its rows."""
    for name in spec.score_fields:
        if any(one.readable for one in counts) and not any(one.scores[name] for one in counts):
            raise SultanaError(
                f"No row of the source '{spec.name}' has a number in the score field '{escape_terminal(name, 60)}'",
                "Correct 'score_fields' of the source, or leave the field out of it",
                code="scores-missing",
            )
