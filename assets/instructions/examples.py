"""Benchmark rows: a prompt, the reference response and the short answer that exact match compares."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from assets.instructions.file_rows import read_conversations
from assets.instructions.raw import source_files
from assets.instructions.rows import Limits, RowProblem
from assets.instructions.shapes import Conversation
from assets.instructions.sources import SourceFile, check_unchanged
from assets.instructions.specs import SourceSpec
from assets.instructions.validate import normalise, problem_in
from resources.errors import SultanaError
from resources.text import escape_terminal

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")


@dataclass(frozen=True)
class BenchmarkExample:
    """One benchmark row. `messages` is the prompt and ends with a user turn; texts are canonical."""

    messages: list[dict[str, str]]
    response: str
    answer: str | None
    task: str
    source: str
    file: str
    position: int


@dataclass(frozen=True)
class ExampleProblem:
    """A benchmark row that cannot be used, and why."""

    source: str
    file: str
    position: int
    reason: str
    detail: str


def read_examples(
    spec: SourceSpec,
    limits: Limits | None = None,
    on_problem: Callable[[ExampleProblem], None] | None = None,
) -> Iterator[BenchmarkExample]:
    """The examples of a benchmark's files, from the same shapes as instructions.

    The last assistant turn is the response. Of GSM8K's, the calculator annotations (`<<48/2=24>>`) are
    removed. The task is the row's label, else `spec.task`, else the source's name. A row that cannot be
    used goes to `on_problem`; without it, it is an error, because a score depends on every row.
    Raises SultanaError.
    """
    limits = limits or Limits()
    with source_files(spec) as files:
        for file in files:
            rows = 0
            for row, conversation, bad in read_conversations(spec, file, limits):
                rows += 1
                made = (
                    bad if conversation is None else _example(spec, file, row.position, conversation, limits)
                )
                if isinstance(made, BenchmarkExample):
                    yield made
                elif made is not None:
                    problem = ExampleProblem(spec.name, file.name, row.position, made.reason, made.detail)
                    _report(problem, on_problem)
            check_unchanged(file, spec.name)
            if rows == 0 and not spec.allow_empty:
                raise SultanaError(
                    f"{file.name} of the benchmark '{spec.name}' has no rows",
                    "Check the file, or set 'allow_empty' of the source if that is right",
                    code="source-empty",
                )


def _example(
    spec: SourceSpec, file: SourceFile, position: int, conversation: Conversation, limits: Limits
) -> BenchmarkExample | RowProblem:
    messages = normalise(conversation.messages)
    if problem := problem_in(messages, limits=limits):
        return RowProblem(*problem)
    response = messages[-1]["content"]
    if conversation.answer is not None and "####" in response:
        response = _CALCULATOR.sub("", response)
    return BenchmarkExample(
        messages=messages[:-1],
        response=response,
        answer=conversation.answer,
        task=conversation.task or spec.task or spec.name,
        source=spec.name,
        file=file.name,
        position=position,
    )


def _report(problem: ExampleProblem, on_problem: Callable[[ExampleProblem], None] | None) -> None:
    if on_problem is None:
        raise SultanaError(
            f"Row {problem.position} of {problem.file} (benchmark '{problem.source}') cannot be used: "
            f"{problem.reason} ({escape_terminal(problem.detail, 200)})",
            "Repair or remove the row",
            code="row-unusable",
        )
    on_problem(problem)
