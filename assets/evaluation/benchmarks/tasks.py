"""The harness's own tasks on our questions: its prompts, choices, targets, filters and metrics.

A task is the harness's YAML file of the installed version with its data set replaced by ours, so that a
prompt cannot drift from the one that published scores were made with. Two parts are ours, since the
harness's run generated code in this very process, as soon as they are imported: the metric of HumanEval and
MBPP, which runs it in the sandbox, and the filters that cut code out of an answer.

IFEval's checkers need NLTK's sentence data, which the harness downloads when they are first imported. Where
it cannot be had, the questions that need it are not asked, and are said to be left out.
"""

import functools
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assets.evaluation.benchmarks.questions import MBPP_EXAMPLES, Question
from assets.evaluation.benchmarks.sandbox import run_program
from resources.errors import SultanaError

FEW_SHOT_SEED = 1234
"""The harness's own seed of the drawing of few-shot examples."""

NEEDS_SENTENCES = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})


@dataclass(frozen=True)
class Definition:
    """What a benchmark is in the harness: `file` below its task folder, and the metric to quote of it."""

    file: str
    metric: str
    examples_split: str = ""  # of its Hub data set: what few-shot draws from; empty: it takes no examples
    test_split: str = "test"
    subset: str = ""  # of its Hub data set, where it is another than the YAML file names
    runs_code: bool = False


DEFINITIONS: dict[str, Definition] = {
    "mmlu": Definition("mmlu/default/{task}.yaml", "acc", "dev", subset="all"),
    "arc_challenge": Definition("arc/arc_challenge.yaml", "acc_norm", "train"),
    "arc_easy": Definition("arc/arc_easy.yaml", "acc_norm", "train"),
    "commonsense_qa": Definition("commonsense_qa/default.yaml", "acc", "train", test_split="validation"),
    "gsm8k": Definition("gsm8k/gsm8k.yaml", "exact_match.flexible-extract", "train"),
    "gsm8k_cot_zeroshot": Definition("gsm8k/gsm8k-cot-zeroshot.yaml", "exact_match.flexible-extract"),
    "ifeval": Definition("ifeval/ifeval.yaml", "prompt_level_strict_acc", test_split="train"),
    "humaneval": Definition("humaneval/humaneval.yaml", "pass_at_1", runs_code=True),
    "humaneval_instruct": Definition("humaneval/humaneval_instruct.yaml", "pass_at_1", runs_code=True),
    "mbpp": Definition("mbpp/mbpp.yaml", "pass_at_1", "prompt", runs_code=True),
    "mbpp_instruct": Definition("mbpp/mbpp_instruct.yaml", "pass_at_1", "prompt", runs_code=True),
}


class _Function(str):
    """A function that a YAML file of the harness names."""


class _Loader(yaml.SafeLoader):
    """YAML of the harness without importing what it names."""


def _named_function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Function:
    return _Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _named_function)


def task_folder() -> Path:
    """The harness's task definitions. Raises SultanaError where the harness is not installed."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise SultanaError(
            "Benchmarks need lm-evaluation-harness, which is not installed",
            "pip install 'sultana[benchmarks]'",
            code="package-missing",
        )
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


@functools.cache
def harness_config(benchmark: str, task: str) -> dict[str, Any]:
    """The harness's definition of a task, includes merged. Raises SultanaError where it has none."""
    path = task_folder() / DEFINITIONS[benchmark].file.format(task=task)
    if not path.is_file():
        raise SultanaError(
            f"lm-evaluation-harness has no task '{task}' of the benchmark '{benchmark}'",
            "Check the subjects in the benchmark's file",
            code="benchmark-task-unsupported",
        )
    return _with_includes(path)


def _with_includes(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader
    include = config.pop("include", None)
    return (_with_includes(path.parent / include) if include else {}) | config


def few_shot_of(benchmark: str, task: str, asked: int) -> int:
    """Examples before each question: `asked`, or where that is negative the task's own.

    Raises SultanaError where the harness's task takes none.
    """
    own = harness_config(benchmark, task).get("num_fewshot")
    if asked < 0:
        return int(own or 0)
    if own == 0 and asked > 0:
        raise SultanaError(
            f"'{benchmark}' is asked without examples, and few_shot is {asked}",
            "Set few_shot to 0 or -1",
            code="few-shot-impossible",
        )
    return asked


def build_task(
    benchmark: str, questions: Sequence[Question], examples: Sequence[Question], few_shot: int
) -> Any:
    """A ConfigurableTask of the harness over questions of one task; `examples` are what few-shot draws from.

    Raises SultanaError where `few_shot` examples are to be drawn from fewer.
    """
    import datasets
    from lm_eval.api.task import ConfigurableTask

    task = questions[0].task
    config = dict(harness_config(benchmark, task))
    for name in ("tag", "dataset_path", "dataset_name", "training_split", "validation_split"):
        config.pop(name, None)
    splits = {"test": datasets.Dataset.from_list([one.doc for one in questions])}
    config |= {"test_split": "test", "fewshot_split": None, "num_fewshot": few_shot}
    shots = examples_for(benchmark, task, examples)
    check_examples(task, few_shot, len(shots))
    if benchmark.startswith("mbpp"):
        config["fewshot_config"] = {
            "sampler": "first_n",
            "samples": [{**one.doc, "is_fewshot": True} for one in shots],
        }
    elif shots:
        splits["examples"] = datasets.Dataset.from_list([one.doc for one in shots])
        config["fewshot_split"] = "examples"

    class LocalTask(ConfigurableTask):
        """The task over rows that are here already."""

        def download(self, *_: Any, **__: Any) -> None:
            """Takes the rows in place of a data set of the Hub."""
            self.dataset = splits

    built = LocalTask(config=_with_functions(benchmark, config))
    built.set_fewshot_seed(FEW_SHOT_SEED)
    return built


def examples_for(benchmark: str, task: str, examples: Sequence[Question]) -> list[Question]:
    """What the few-shot examples of a task are drawn from: MMLU's are of its subject, MBPP's are three."""
    if benchmark.startswith("mbpp"):
        by_number = {one.doc["task_id"]: one for one in examples}
        return [by_number[number] for number in MBPP_EXAMPLES if number in by_number]
    return [one for one in examples if one.task == task]


def check_examples(task: str, few_shot: int, there: int) -> None:
    """Raise SultanaError where fewer examples are there than are to be drawn."""
    if few_shot > there:
        raise SultanaError(
            f"'{task}' is to be asked with {few_shot} examples, and there are {there} to draw from",
            "Set few_shot_path of the benchmark to its training questions (MMLU: development, MBPP: the rows "
            "of task_id 2 to 4), or few_shot to 0",
            code="few-shot-impossible",
        )


def _with_functions(benchmark: str, config: Any) -> Any:
    """The definition with functions in the places of their names."""
    if isinstance(config, _Function):
        return _function(benchmark, str(config))
    if isinstance(config, dict):
        return {key: _with_functions(benchmark, value) for key, value in config.items()}
    if isinstance(config, list):
        return [_with_functions(benchmark, value) for value in config]
    return config


def _function(benchmark: str, name: str) -> Any:
    if benchmark == "ifeval":
        from lm_eval.tasks.ifeval import utils

        return getattr(utils, name.removeprefix("utils."))
    ours = {
        ("humaneval", "utils.pass_at_k"): pass_at_k,
        ("humaneval", "utils.build_predictions"): completed,
        ("humaneval_instruct", "utils.pass_at_k"): pass_at_k,
        ("humaneval_instruct", "utils.build_predictions_instruct"): completed_before_fence,
        ("mbpp", "utils.pass_at_1"): pass_at_1,
        ("mbpp_instruct", "utils.pass_at_1"): pass_at_1,
        ("mbpp_instruct", "utils.build_predictions"): fenced,
        # In place of the copies in the harness's module, which cannot be imported: see `examples_for`.
        ("mbpp", "utils.list_fewshot_samples"): None,
        ("mbpp_instruct", "utils.list_fewshot_samples"): None,
    }
    if (benchmark, name) not in ours:
        raise SultanaError(
            f"The harness's task '{benchmark}' names a function that Sultana does not know ({name})",
            "Install the version of lm-eval that constraints.txt names",
            code="package-version-differs",
        )
    return ours[benchmark, name]


def pass_at_k(references: list[str], predictions: list[list[str]], k: list[int]) -> dict[str, float]:
    """Share of programs that pass their tests, in the sandbox. Only k = 1 is asked for: answers are greedy."""
    if k != [1]:
        raise ValueError(f"k is {k}; one greedy answer gives pass@1 alone")
    marks = [
        run_program(f"{program}\n{test}").passed
        for test, programs in zip(references, predictions, strict=True)
        for program in programs
    ]
    return {"pass@1": sum(marks) / len(marks)}


def pass_at_1(references: Any, predictions: Any) -> float:
    """`pass_at_k` as MBPP calls it: single programs, or lists of one."""
    tests = [references] if isinstance(references, str) else list(references)
    programs = [[one] if isinstance(one, str) else list(one) for one in predictions]
    return pass_at_k(tests, programs, [1])["pass@1"]


def completed(responses: list[list[str]], docs: list[Mapping[str, Any]]) -> list[list[str]]:
    """HumanEval: the function's head and what the model continued it with."""
    return [[doc["prompt"] + one for one in found] for found, doc in zip(responses, docs, strict=True)]


def completed_before_fence(responses: list[list[str]], docs: list[Mapping[str, Any]]) -> list[list[str]]:
    """The same where the answer is code in a fence that the prompt opened."""
    return completed([[one.split("```")[0] for one in found] for found in responses], docs)


def fenced(responses: list[list[str]], docs: list[Mapping[str, Any]]) -> list[list[str]]:
    """MBPP: the first fenced block of an answer whose prompt opened the fence; empty where it has none.

    As the harness cuts it, which takes a word right after the fence for the name of the language.
    """
    return [[_first_block(one) for one in found] for found in responses]


def _first_block(text: str) -> str:
    block = re.compile(r"```(?:\w+)?\n?(.*?)\n?```", re.DOTALL)
    found = block.findall("```" + text) or block.findall(text.replace("```python", "```"))
    return str(found[0]) if found else ""


def unanswerable(benchmark: str, questions: Sequence[Question]) -> dict[str, str]:
    """Question id -> why it cannot be judged on this machine."""
    if benchmark != "ifeval" or _has_sentence_data():
        return {}
    return {
        one.question_id: "needs NLTK's sentence data (python -m nltk.downloader punkt_tab)"
        for one in questions
        if NEEDS_SENTENCES & set(one.doc["instruction_id_list"])
    }


@functools.cache
def _has_sentence_data() -> bool:
    import contextlib
    import io

    import nltk

    # The harness downloads it on import, where it can, and says so on the standard streams.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("lm_eval.tasks.ifeval.utils")
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True
