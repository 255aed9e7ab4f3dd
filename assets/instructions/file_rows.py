"""Rows of RAW_INSTRUCTIONS of one file of a source: as they were found, good and bad, in the order of the file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from assets.identity import digest, instruction_id, origin_id
from assets.instructions.fields import number_of
from assets.instructions.reader import Lines, read_rows
from assets.instructions.rows import Limits, ParsedRow, RowProblem, escape_bytes
from assets.instructions.shapes import Conversation, to_conversation
from assets.instructions.sources import SourceFile
from assets.instructions.specs import FileCounts, SourceSpec
from resources.errors import SultanaError
from resources.private import KINDS, find_private, mask_private
from resources.text import escape_terminal

RawRow = dict[str, Any]
"""A row of RAW_INSTRUCTIONS."""
OnBadFile = Literal["fail", "quarantine"]
Progress = Callable[[str, str, int], None]
"""Called with the source's name, the file's name and the rows read from it so far."""

_PROGRESS_EVERY = 1000


def rows_of_file(
    spec: SourceSpec,
    file: SourceFile,
    count: FileCounts,
    *,
    copy: str,
    limits: Limits,
    on_bad_file: OnBadFile,
    on_progress: Progress | None = None,
    on_error: Callable[[], None] | None = None,
    lines: Lines | None = None,
) -> Iterator[RawRow]:
    """The rows of a file, or of some of its `lines`, counted into `count`; `on_bad_file` is as in `raw.read_sources`.

    `copy` goes into the ids of rows of a file whose content another file has. `on_error` is called where the file is
    found to be bad, before anything is made of that. Raises SultanaError.
    """
    try:
        yield from _read_file(spec, file, limits, count, on_progress, copy, lines)
    except SultanaError as error:
        if on_error:
            on_error()
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


def read_conversations(
    spec: SourceSpec, file: SourceFile, limits: Limits, lines: Lines | None = None
) -> Iterator[tuple[ParsedRow, Conversation | None, RowProblem | None]]:
    """Rows of one file, or of some of its lines, with what they say, or why they say nothing. Raises SultanaError."""
    for row in read_rows(file.path, name=file.name, format=spec.format, limits=limits, lines=lines):
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


def _read_file(
    spec: SourceSpec,
    file: SourceFile,
    limits: Limits,
    count: FileCounts,
    on_progress: Progress | None,
    copy: str,
    lines: Lines | None,
) -> Iterator[RawRow]:
    for row, conversation, problem in read_conversations(spec, file, limits, lines):
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
