"""What is asked of a model: benchmarks read and checked before any model is loaded."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assets.evaluation.benchmarks.questions import (
    MBPP_EXAMPLES,
    Question,
    chosen_by_hash,
    read_questions,
)
from assets.evaluation.benchmarks.sandbox import check_sandbox
from assets.evaluation.benchmarks.tasks import (
    DEFINITIONS,
    check_examples,
    examples_for,
    few_shot_of,
    harness_config,
    task_folder,
    unanswerable,
)
from assets.instructions.hub import HUB_PREFIX
from assets.instructions.sources import SourceFile, resolve
from resources.errors import SultanaError


@dataclass(frozen=True)
class BenchmarkSpec:
    """A benchmark as asked for. Empty paths: the data sets that the harness's task names, of the Hub.

    `few_shot` below 0: as many as the task's own; `examples` 0: every question.
    """

    task: str
    path: str = ""
    few_shot: int = -1
    few_shot_path: str = ""
    examples: int = 0
    revision: str = ""


@dataclass(frozen=True)
class Asked:
    """A benchmark to run: its questions, what few-shot draws from, and what is not asked, with the reason.

    `files` are SHA-256 digests by name, of all that was read.
    """

    benchmark: str
    questions: tuple[Question, ...]
    examples: tuple[Question, ...]
    few_shot: int
    left_out: dict[str, str]
    files: dict[str, str]

    def without(self, question_ids: Set[str], reason: str) -> "Asked":
        """The benchmark less some questions. Raises SultanaError where none is left."""
        kept = tuple(one for one in self.questions if one.question_id not in question_ids)
        if not kept:
            raise SultanaError(
                f"No question of '{self.benchmark}' is left: each {reason}",
                "Name other reward sources in benchmark_splits, or leave the benchmark out",
                code="benchmark-without-questions",
            )
        left_out = self.left_out | {
            one.question_id: reason for one in self.questions if one.question_id in question_ids
        }
        return replace(self, questions=kept, left_out=left_out)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What scores depend on besides the model and the settings, as JSON values."""
        from importlib.metadata import version

        return {
            "benchmark": self.benchmark,
            "files": self.files,
            "few_shot": self.few_shot,
            "left_out": len(self.left_out),
            "lm_eval": version("lm_eval"),
        }


def read_benchmarks(
    specs: Sequence[BenchmarkSpec], *, execute_generated_code: bool, downloads: Path
) -> list[Asked]:
    """Read and check benchmarks; `downloads` is a folder for what is not on this machine.

    Raises SultanaError where the harness is missing, a benchmark is unknown or named twice, its files do not
    hold it, examples are missing, or it runs generated code and that is not allowed or cannot be contained.
    """
    for number, spec in enumerate(specs):
        if spec.task not in DEFINITIONS:
            raise SultanaError(
                f"There is no benchmark '{spec.task}'",
                f"Choose from: {', '.join(sorted(DEFINITIONS))}",
                code="benchmark-unknown",
            )
        if any(spec.task == other.task for other in specs[:number]):
            raise SultanaError(
                f"The benchmark '{spec.task}' is named twice", "Name it once", code="name-twice"
            )
        if DEFINITIONS[spec.task].runs_code:
            if not execute_generated_code:
                raise SultanaError(
                    f"'{spec.task}' runs code that the model writes, and execute_generated_code is off",
                    "Set execute_generated_code to true (the code runs in a sandbox), or leave the benchmark out",
                    code="code-execution-off",
                )
            check_sandbox()
    if specs:
        task_folder()
    return [_read(spec, downloads) for spec in specs]


def _read(spec: BenchmarkSpec, downloads: Path) -> Asked:
    definition = DEFINITIONS[spec.task]
    files = _files(spec, spec.path, definition.test_split, downloads)
    found = read_questions(spec.task, files)
    questions, examples = found, list[Question]()
    if spec.task.startswith("mbpp"):
        # One file of its authors holds both; only its test questions are scored.
        examples = [one for one in found if one.doc["task_id"] in MBPP_EXAMPLES]
        questions = [one for one in found if one.doc["task_id"] not in MBPP_EXAMPLES]
    tasks = sorted({one.task for one in questions})
    few_shot = max((few_shot_of(spec.task, task, spec.few_shot) for task in tasks), default=0)
    if few_shot and (spec.few_shot_path or (not spec.path and definition.examples_split)):
        more = _files(spec, spec.few_shot_path, definition.examples_split, downloads)
        files = [*files, *more]
        examples = read_questions(spec.task, more)
    for task in tasks:
        check_examples(task, few_shot, len(examples_for(spec.task, task, examples)))
    shots = {one.question_id for one in examples}
    left_out = {one.question_id: "is a few-shot example" for one in questions if one.question_id in shots}
    left_out |= unanswerable(spec.task, questions)
    kept = [one for one in questions if one.question_id not in left_out]
    if not kept:
        raise SultanaError(
            f"No question of '{spec.task}' can be asked: {next(iter(left_out.values()), 'there is none')}",
            "Check the benchmark's files",
            code="benchmark-without-questions",
        )
    return Asked(
        spec.task,
        tuple(chosen_by_hash(kept, spec.examples)),
        tuple(examples),
        few_shot,
        left_out,
        {one.name: one.sha256 for one in files},
    )


def _files(spec: BenchmarkSpec, path: str, split: str, downloads: Path) -> list[SourceFile]:
    config = harness_config(spec.task, "mmlu_anatomy" if spec.task == "mmlu" else spec.task)
    uri = path or f"{HUB_PREFIX}datasets/{config['dataset_path']}"
    from_hub = uri.startswith(HUB_PREFIX)
    return resolve(
        uri,
        downloads=downloads,
        revision=(spec.revision or None) if from_hub else None,
        split=split if from_hub else None,
        subset=(DEFINITIONS[spec.task].subset or config.get("dataset_name")) if from_hub else None,
    )
