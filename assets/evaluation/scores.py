"""What a loaded model scores: the rows of EVALUATIONS and EVALUATION_ANSWERS, on a split and on benchmarks.

Beside each score stands what it would be without the examples that share text with rows trained on.
Standard errors are over examples: of a share, and of a loss per token as a ratio of two sums (Cochran,
Sampling Techniques, 1977, §6.4).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.evaluation.benchmarks.answers import Answer, Score
from assets.evaluation.benchmarks.questions import Question
from assets.identity import ID_LENGTH, digest
from assets.instructions.text import conversation_text

if TYPE_CHECKING:
    from assets.evaluation.harness import AccuracyReport
    from assets.finetuning.scoring import Example, LossReport

BENCHMARK = "benchmark"
"""What stands in the column `split` of a benchmark's scores."""

Overlaps = Callable[[Sequence[Question]], Mapping[str, float]]
"""Question id -> largest share of its n-grams in a row trained on, of those that overlap."""


@dataclass(frozen=True)
class Scored:
    """Whose scores they are. `scoring_id` is a hash of the checkpoint and of all that scoring depends on."""

    checkpoint_id: str
    inputs_digest: str
    model: str
    strategy: str
    seed: int

    @property
    def scoring_id(self) -> str:
        """What the answers of this evaluation are filed under."""
        return digest([self.checkpoint_id, self.inputs_digest])[:ID_LENGTH]

    def row(self, split: str, task: str, metric: str, **values: Any) -> dict[str, Any]:
        """A row of EVALUATIONS."""
        # Two benchmarks, or a benchmark and a split, may name a task or a metric alike.
        name = [self.checkpoint_id, self.inputs_digest, split, task, metric]
        return {
            "evaluation_id": digest(name)[:ID_LENGTH],
            "checkpoint_id": self.checkpoint_id,
            "model": self.model,
            "strategy": self.strategy,
            "seed": self.seed,
            "split": split,
            "task": task,
            "metric": metric,
            **values,
        }

    def answer(self, benchmark: str, task: str, question_id: str, **values: Any) -> dict[str, Any]:
        """A row of EVALUATION_ANSWERS."""
        name = [self.scoring_id, benchmark, task, question_id]
        return {
            "answer_id": digest(name)[:ID_LENGTH],
            "scoring_id": self.scoring_id,
            "benchmark": benchmark,
            "task": task,
            "question_id": question_id,
            **values,
        }


def as_question(row: Mapping[str, Any]) -> Question:
    """A row of BENCHMARK_SPLITS as a question, for what compares texts."""
    return Question(row["example_id"], row["task"], {}, conversation_text(row["messages"]), row["response"])


def split_rows(
    scored: Scored,
    split: str,
    measured: Sequence["Example"],
    loss: "LossReport",
    asked: Sequence["Example"],
    accuracy: "AccuracyReport",
    questions: Mapping[str, Question],
    overlaps: Overlaps,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and answers of a split; `measured` are the examples of `loss` in its order, `asked` of `accuracy`.

    `questions` are all of the split's rows by id.
    """
    found = overlaps(list(questions.values()))
    rows: list[dict[str, Any]] = []
    clean = np.array([one.example_id not in found for one in measured])
    losses, tokens = loss.per_example, np.array([one.encoded.trained_tokens for one in measured])
    for task in loss.per_task:
        mine = np.array([one.task == task for one in measured])
        rows.append(
            scored.row(
                split,
                task,
                "loss",
                value=float(loss.per_task[task]),
                standard_error=_error_of_ratio(losses[mine], tokens[mine]),
                examples=int(mine.sum()),
                overlapping=int((mine & ~clean).sum()),
                value_without_overlap=_ratio(losses[mine & clean], tokens[mine & clean]),
            )
        )
    answered = {one.example_id: one for one in accuracy.predictions}
    for task in accuracy.per_task:
        right = {key: one.correct for key, one in answered.items() if questions[key].task == task}
        rows.append(
            scored.row(
                split,
                task,
                "accuracy",
                value=float(accuracy.per_task[task]),
                standard_error=_error_of_mean(list(right.values())),
                examples=len(right),
                overlapping=sum(key in found for key in right),
                value_without_overlap=_mean([mark for key, mark in right.items() if key not in found]),
            )
        )
    losses_by_id = {
        one.example_id: float(value) for one, value in zip(measured, loss.per_example, strict=True)
    }
    prompts = {one.example_id: one.encoded.prompt_ids.tobytes() for one in (*measured, *asked)}
    answers = []
    for key in sorted({*losses_by_id, *answered}):
        question = questions[key]
        marks = {"loss": losses_by_id[key]} if key in losses_by_id else {}
        if key in answered:
            marks["accuracy"] = float(answered[key].correct)
        answers.append(
            scored.answer(
                split,
                question.task,
                key,
                prompt=question.prompt,
                prompt_sha256=hashlib.sha256(prompts[key]).hexdigest(),
                expected=question.answer,
                got=answered[key].text if key in answered else "",
                scores=[{"name": name, "value": value} for name, value in marks.items()],
                overlap=found.get(key, 0.0),
            )
        )
    return rows, answers


def benchmark_rows(
    scored: Scored,
    scores: Sequence[Score],
    answers: Sequence[Answer],
    questions: Sequence[Question],
    overlaps: Overlaps,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and answers of what the harness scored."""
    found = overlaps(questions)
    rows = []
    for score in scores:
        mine = [
            one
            for one in answers
            if one.benchmark == score.benchmark and score.task in (one.task, one.benchmark)
        ]
        marks = [(one.scores[score.metric], one.question_id in found) for one in mine]
        # A metric over the parts of questions (IFEval's instructions) is no mean over questions.
        is_mean = abs(float(np.mean([mark for mark, _ in marks])) - score.value) < 1e-9
        rows.append(
            scored.row(
                BENCHMARK,
                score.task,
                score.metric,
                value=score.value,
                standard_error=score.standard_error,
                examples=score.questions,
                overlapping=sum(overlapping for _, overlapping in marks),
                value_without_overlap=_mean([mark for mark, overlapping in marks if not overlapping])
                if is_mean
                else None,
            )
        )
    return rows, [
        scored.answer(
            one.benchmark,
            one.task,
            one.question_id,
            prompt=one.prompt,
            prompt_sha256=one.prompt_sha256,
            expected=one.expected,
            got=one.got,
            scores=[{"name": name, "value": value} for name, value in sorted(one.scores.items())],
            overlap=found.get(one.question_id, 0.0),
        )
        for one in answers
    ]


def mlflow_metrics(
    rows: Sequence[Mapping[str, Any]], means: Mapping[str, Any], split: str
) -> dict[str, float]:
    """Metrics of a run: the split's means over tasks, and each row with its standard error."""
    found = {f"{split}_{name}": float(means[name]) for name in ("loss", "accuracy")}
    for row in rows:
        found[f"{row['split']}_{row['metric']}.{row['task']}"] = row["value"]
        if row["standard_error"] is not None:
            found[f"{row['split']}_{row['metric']}_standard_error.{row['task']}"] = row["standard_error"]
    return found


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _error_of_mean(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def _ratio(losses: np.ndarray, tokens: np.ndarray) -> float | None:
    return float((losses * tokens).sum() / tokens.sum()) if len(losses) else None


def _error_of_ratio(losses: np.ndarray, tokens: np.ndarray) -> float | None:
    count = len(losses)
    if count < 2:
        return None
    shares = tokens / tokens.sum()
    mean = float((losses * shares).sum())
    return float(np.sqrt(count / (count - 1) * (shares**2 * (losses - mean) ** 2).sum()))
