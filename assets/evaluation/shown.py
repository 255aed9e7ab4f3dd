"""What the UIs show of an evaluation: scores with their errors, and answers, right ones and wrong ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from assets.evaluation.benchmarks.plan import Asked
from assets.evaluation.benchmarks.tasks import DEFINITIONS
from assets.evaluation.scores import BENCHMARK
from assets.presentation import bars, table

SAMPLES = 3
"""Right answers and wrong answers shown of each task."""

MOST_TASKS = 12
"""Tasks of one benchmark whose answers are shown: MMLU has 57."""


def quoted_metrics(splits: Sequence[str]) -> dict[str, list[str]]:
    """The metrics to compare of each benchmark, and of each split."""
    return {name: [one.metric] for name, one in DEFINITIONS.items()} | {
        split: ["loss", "accuracy"] for split in splits
    }


def shown_scores(
    rows: Sequence[Mapping[str, Any]],
    split: str,
    answers: Sequence[Mapping[str, Any]],
    asked: Sequence[Asked],
) -> dict[str, Any]:
    """Metadata of an evaluation, from its rows of EVALUATIONS and EVALUATION_ANSWERS; see also `mlflow_tables`."""
    by_metric = {
        metric: {
            row["task"]: row["value"] for row in rows if (row["split"], row["metric"]) == (split, metric)
        }
        for metric in ("loss", "accuracy")
    }
    shown = {
        f"{split}_loss_per_task": bars(by_metric["loss"], title="Held-out loss per task", x="nats per token"),
        f"{split}_accuracy_per_task": bars(
            by_metric["accuracy"], title="Exact match per task", x="share right"
        ),
        f"{split}_scores": table(_scores([row for row in rows if row["split"] == split])),
        f"{split}_answers": table(
            _samples([one for one in answers if one["benchmark"] == split], "accuracy")
        ),
    }
    if asked:
        shown["benchmarks"] = table(_scores([row for row in rows if row["split"] == BENCHMARK]))
        shown["benchmark_answers"] = table(
            [
                sample
                for one in asked
                for sample in _samples(
                    [answer for answer in answers if answer["benchmark"] == one.benchmark],
                    DEFINITIONS[one.benchmark].metric,
                )
            ]
        )
        shown["benchmark_questions_left_out"] = table(
            [
                {"benchmark": one.benchmark, "reason": reason, "questions": count, "question_ids": ids}
                for one in asked
                for reason, count, ids in _reasons(one.left_out)
            ]
        )
    return shown


def mlflow_tables(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]], split: str
) -> dict[str, list[dict[str, Any]]]:
    """Tables of the MLflow run by path, named as in Dagster: every score, and the answers that are shown."""
    metrics = quoted_metrics([split])
    benchmarks = sorted({answer["benchmark"] for answer in answers})
    return {
        f"evaluation/{split}_scores.json": [
            {"split": row["split"], **one} for row, one in zip(rows, _scores(rows), strict=True)
        ],
        f"evaluation/{split}_answers.json": [
            {"benchmark": name, **sample}
            for name in benchmarks
            for sample in _samples(
                [answer for answer in answers if answer["benchmark"] == name], metrics[name][-1]
            )
        ],
    }


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "task": row["task"],
            "metric": row["metric"],
            "value": row["value"],
            "standard error": row["standard_error"],
            "examples": row["examples"],
            "share seen in training": row["overlapping"] / row["examples"],
            "value without those": row["value_without_overlap"],
        }
        for row in rows
    ]


def _samples(answers: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    columns = ("task", "right", "prompt", "expected", "got")
    return [{name: one[name] for name in columns} for one in sample_answers(answers, metric)]


def sample_answers(
    answers: Sequence[Mapping[str, Any]], metric: str, each: int = SAMPLES
) -> list[dict[str, Any]]:
    """The first `each` right and wrong answers of each task, in order of question id, which are hashes.

    Rows of EVALUATION_ANSWERS of one benchmark, with `right` beside.
    """
    found = []
    tasks = sorted({answer["task"] for answer in answers})[:MOST_TASKS]
    for task in tasks:
        for right in (True, False):
            mine = [
                answer
                for answer in answers
                if answer["task"] == task
                and any(one["name"] == metric and (one["value"] >= 0.5) == right for one in answer["scores"])
            ]
            ordered = sorted(mine, key=lambda one: one["question_id"])
            found += [{**answer, "right": right} for answer in ordered[:each]]
    return found


def _reasons(left_out: Mapping[str, str]) -> list[tuple[str, int, str]]:
    return [
        (reason, len(ids), ", ".join(ids))
        for reason in sorted(set(left_out.values()))
        if (ids := sorted(key for key, why in left_out.items() if why == reason))
    ]
