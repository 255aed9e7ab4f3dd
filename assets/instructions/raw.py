"""Sources in, rows of RAW_INSTRUCTIONS out: as they were found, good and bad, in the order of the files."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from assets.identity import digest, instruction_id, origin_id
from assets.instructions.fields import number_of
from assets.instructions.reader import read_rows
from assets.instructions.rows import Limits, ParsedRow, RowProblem, escape_bytes
from assets.instructions.shapes import Conversation, to_conversation
from assets.instructions.sources import Hashes, SourceFile, check_unchanged, resolve, shown_uri
from assets.instructions.specs import PRIVATE, FileCounts, ReadCounts, SourceSpec
from assets.records import RAW_INSTRUCTIONS
from resources.errors import SultanaError
from resources.private import KINDS, find_private, mask_private
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

RawRow = dict[str, Any]
"""A row of RAW_INSTRUCTIONS."""
OnBadFile = Literal["fail", "quarantine"]
Progress = Callable[[str, str, int], None]
"""Called with the source's name, the file's name and the rows read from it so far."""

_PROGRESS_EVERY = 1000
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
    _check_names(specs)
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
    _check_names(specs)
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
def source_files(spec: SourceSpec, hashes: Hashes | None = None) -> Iterator[list[SourceFile]]:
    """The files of a source; copies of remote ones are deleted afterwards. `hashes`: those known already."""
    with tempfile.TemporaryDirectory(prefix="sultana-source-") as folder:
        yield resolve(
            spec.uri,
            downloads=Path(folder),
            revision=spec.revision,
            split=spec.split,
            subset=spec.subset,
            hub_mirror=Path(spec.hub_mirror) if spec.hub_mirror else None,
            hashes=hashes,
        )


def read_conversations(
    spec: SourceSpec, file: SourceFile, limits: Limits
) -> Iterator[tuple[ParsedRow, Conversation | None, RowProblem | None]]:
    """Rows of one file with what they say, or why they say nothing. Raises SultanaError."""
    for row in read_rows(file.path, name=file.name, format=spec.format, limits=limits):
        if row.value is None:
            yield row, None, RowProblem(row.problem or "not_json", row.detail or "")
            continue
        try:
            conversation = to_conversation(row.value, spec.shape, spec.task_field)
        except RowProblem as problem:
            yield row, None, problem
        else:
            yield _private(spec, row, conversation)


def _private(
    spec: SourceSpec, row: ParsedRow, conversation: Conversation
) -> tuple[ParsedRow, Conversation | None, RowProblem | None]:
    """A row as its source wants what is private in it: as it is, masked, or refused."""
    if spec.private == "mask":
        turns = [{**turn, "content": mask_private(turn["content"])} for turn in conversation.messages]
        answer = None if conversation.answer is None else mask_private(conversation.answer)
        return row, replace(conversation, messages=turns, answer=answer), None
    if spec.private == "refuse" and (kinds := _kinds(conversation)):
        return row, None, RowProblem("private_data", f"it holds {', '.join(KINDS[kind] for kind in kinds)}")
    return row, conversation, None


def _kinds(conversation: Conversation) -> list[str]:
    """The kinds of private data in a conversation, each once."""
    return sorted({one.kind for turn in conversation.messages for one in find_private(turn["content"])})


def _check_names(specs: Sequence[SourceSpec]) -> None:
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
            try:
                yield from _read_file(spec, file, limits, count, on_progress, copy)
            except SultanaError as error:
                check_unchanged(file, spec.name)
                if on_bad_file == "fail":
                    raise SultanaError(
                        f"{error.problem} (source '{spec.name}')", error.remedy, code=error.code
                    ) from error
                count.rows += 1
                count.problems["unreadable_file"] += 1
                with file.path.open("rb") as stream:
                    head = stream.read(limits.raw_text_bytes + 1)
                problem = RowProblem("unreadable_file", str(error))
                # Position 0 is no row: the file as a whole.
                yield _unreadable(spec, file, 0, problem, escape_bytes(head, limits.raw_text_bytes), copy)
            check_unchanged(file, spec.name)
            if on_progress:
                on_progress(spec.name, file.name, count.rows)
            if count.rows == 0 and not spec.allow_empty:
                raise SultanaError(
                    f"{file.name} of the source '{spec.name}' has no rows",
                    "Check the file, or set 'allow_empty' of the source if that is right",
                    code="source-empty",
                )
        _check_scores(spec, counts.files[first:])


def _check_scores(spec: SourceSpec, counts: Sequence[FileCounts]) -> None:
    """Raises SultanaError where a score field that the source names holds a number in none of its rows."""
    for name in spec.score_fields:
        if any(one.readable for one in counts) and not any(one.scores[name] for one in counts):
            raise SultanaError(
                f"No row of the source '{spec.name}' has a number in the score field '{escape_terminal(name, 60)}'",
                "Correct 'score_fields' of the source, or leave the field out of it",
                code="scores-missing",
            )


def _read_file(
    spec: SourceSpec,
    file: SourceFile,
    limits: Limits,
    count: FileCounts,
    on_progress: Progress | None,
    copy: str,
) -> Iterator[RawRow]:
    for row, conversation, problem in read_conversations(spec, file, limits):
        count.rows += 1
        if on_progress and count.rows % _PROGRESS_EVERY == 0:
            on_progress(spec.name, file.name, count.rows)
        if conversation is not None:
            count.readable += 1
            if spec.private == "flag":
                count.private.update(_kinds(conversation))
            scores = _scores(spec, row.value or {}, count)
            yield {**_readable(spec, file, row, conversation, copy), "scores": scores}
        elif problem is not None:
            count.problems[problem.reason] += 1
            yield _unreadable(spec, file, row.position, problem, row.raw_text(limits.raw_text_bytes), copy)


def _scores(spec: SourceSpec, value: Mapping[str, Any], count: FileCounts) -> list[dict[str, Any]] | None:
    """The row's scores by name. A field that holds no finite number costs the row that score, not its place."""
    scores = []
    for name in sorted(spec.score_fields):
        found = value.get(name)
        number = number_of(found)
        if number is not None:
            count.scores[name] += 1
            scores.append({"name": name, "value": number})
        elif found is not None and found != "":
            count.unusable_scores[name] += 1
    return scores or None


def _readable(
    spec: SourceSpec, file: SourceFile, row: ParsedRow, conversation: Conversation, copy: str
) -> RawRow:
    key = instruction_id(conversation.messages)
    return {
        "origin_id": origin_id(file.sha256, row.position, copy + key),
        "instruction_id": key,
        "source": spec.name,
        "file": file.name,
        "file_sha256": file.sha256,
        "position": row.position,
        "licence": conversation.licence or spec.licence or file.licence,
        "task": conversation.task or spec.task,
        "messages": conversation.messages,
        "problem": None,
        "problem_detail": None,
        "raw_text": None,
    }


def _unreadable(
    spec: SourceSpec, file: SourceFile, position: int, problem: RowProblem, raw_text: str, copy: str
) -> RawRow:
    return {
        "origin_id": origin_id(file.sha256, position, copy + digest([problem.reason, raw_text])),
        "instruction_id": None,
        "source": spec.name,
        "file": file.name,
        "file_sha256": file.sha256,
        "position": position,
        "licence": spec.licence or file.licence,
        "task": spec.task,
        "messages": None,
        "scores": None,
        "problem": problem.reason,
        "problem_detail": escape_terminal(mask_private(problem.detail), 500),
        "raw_text": mask_private(raw_text),
    }
