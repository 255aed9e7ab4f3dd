"""Benchmarks run by lm-evaluation-harness: its evaluator, its metrics and its standard errors, our model.

MMLU is scored by subject and as a whole, weighted by questions, as the harness's group does.
"""

import contextlib
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.evaluation.benchmarks.answers import Answer, Score
from assets.evaluation.benchmarks.harness_model import HarnessModel, Track
from assets.evaluation.benchmarks.plan import Asked
from assets.evaluation.benchmarks.questions import Question
from assets.evaluation.benchmarks.tasks import DEFINITIONS, build_task
from assets.evaluation.loaded import LoadedModel

_UNNAMED_FILTERS = frozenset({"none", "create_test", "extract_code"})


def run_benchmarks(
    model: LoadedModel,
    asked: Sequence[Asked],
    *,
    apply_chat_template: bool,
    batch_tokens: int,
    track: Track,
) -> tuple[list[Score], list[Answer]]:
    """Ask a model every question. Few-shot examples are turns where a chat template is applied.

    Deterministic for the same weights, questions and batches.
    """
    from lm_eval.evaluator import evaluate

    scores: list[Score] = []
    answers: list[Answer] = []
    for one in asked:
        by_task: dict[str, list[Question]] = defaultdict(list)
        for question in one.questions:
            by_task[question.task].append(question)
        harness_model = HarnessModel(
            model,
            templated=apply_chat_template,
            batch_tokens=batch_tokens,
            track=_named(track, one.benchmark),
        )
        # The harness draws bars of its own on the standard error stream.
        with contextlib.redirect_stderr(io.StringIO()):
            tasks = {
                task: build_task(one.benchmark, questions, one.examples, one.few_shot)
                for task, questions in sorted(by_task.items())
            }
            found = evaluate(
                harness_model,
                {"tasks": tasks},
                bootstrap_iters=100,  # of metrics that have no formula; none of ours
                apply_chat_template=apply_chat_template,
                fewshot_as_multiturn=apply_chat_template,
                confirm_run_unsafe_code=True,  # it runs in the sandbox
            )
        for task, questions in sorted(by_task.items()):
            scores += _scores(one.benchmark, task, found["results"][task], len(questions))
            answers += _answers(one.benchmark, questions, tasks[task], found["samples"][task])
        if set(by_task) != {one.benchmark}:
            scores += _whole(one.benchmark, [score for score in scores if score.benchmark == one.benchmark])
    return scores, answers


def _named(track: Track, benchmark: str) -> Track:
    return lambda label, total, unit: track(f"{benchmark}, {label}", total, unit)


def _name(metric: str, kind: str) -> str:
    name = metric if kind in _UNNAMED_FILTERS else f"{metric}.{kind}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace("@", "_at_"))


def _scores(benchmark: str, task: str, results: Mapping[str, Any], questions: int) -> list[Score]:
    found = []
    for key, value in results.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        error = results.get(f"{metric}_stderr,{kind}")
        known = float(error) if isinstance(error, float | int) and np.isfinite(error) else None
        found.append(Score(benchmark, task, _name(metric, kind), float(value), known, questions))
    return sorted(found, key=lambda one: one.metric)


def _whole(benchmark: str, parts: Sequence[Score]) -> list[Score]:
    """A benchmark of several tasks, each weighted by its questions; errors pooled as the harness does."""
    from lm_eval.api.metrics import pooled_sample_stderr

    found = []
    for metric in sorted({one.metric for one in parts}):
        mine = [one for one in parts if one.metric == metric]
        sizes = [one.questions for one in mine]
        errors = [one.standard_error for one in mine]
        value = sum(one.value * one.questions for one in mine) / sum(sizes)
        if None not in errors:
            error = float(pooled_sample_stderr(errors, sizes))
        elif sum(sizes) > 1:  # a task of one question has no error of its own
            error = float(np.sqrt(value * (1 - value) / (sum(sizes) - 1)))
        else:
            error = None
        found.append(Score(benchmark, benchmark, metric, value, error, sum(sizes)))
    return found


def _answers(
    benchmark: str, questions: Sequence[Question], task: Any, samples: Sequence[Mapping[str, Any]]
) -> list[Answer]:
    by_place: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for sample in samples:
        by_place[sample["doc_id"]].append(sample)
    answers = []
    for place, question in enumerate(questions):
        mine = by_place[place]
        marks = {
            _name(metric, sample["filter"]): float(np.mean(sample[metric]))
            for sample in mine
            for metric in sample["metrics"]
        }
        sent = mine[0]["arguments"][0][0]
        answers.append(
            Answer(
                question.question_id,
                benchmark,
                question.task,
                question.prompt,
                hashlib.sha256(sent.encode("utf-8", "surrogatepass")).hexdigest(),
                question.answer,
                _got(benchmark, task, mine[0]),
                marks,
            )
        )
    return answers


def _got(benchmark: str, task: Any, sample: Mapping[str, Any]) -> str:
    """The text that was generated, or the choice that the quoted metric takes for the answer."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(sample["resps"][0][0])
    choices = task.doc_to_choice(sample["doc"])
    values = np.array([value for value, _ in sample["filtered_resps"]])
    if DEFINITIONS[benchmark].metric == "acc_norm":
        values = values / np.array([len(one) for one in choices])
    chosen = int(values.argmax())
    doc_choices = sample["doc"].get("choices")
    texts = doc_choices["text"] if isinstance(doc_choices, Mapping) else doc_choices
    return str(texts[chosen])
