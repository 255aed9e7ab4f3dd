"""What comes out of a benchmark: its scores, and what the model made of each question."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A metric of a task; `standard_error` is None where the harness gives none."""

    benchmark: str
    task: str
    metric: str
    value: float
    standard_error: float | None
    questions: int


@dataclass(frozen=True)
class Answer:
    """What a model made of one question. `scores` are by metric, a share where a metric has parts.

    `prompt` is the question without template and examples, `prompt_sha256` the hash of all that was sent.
    """

    question_id: str
    benchmark: str
    task: str
    prompt: str
    prompt_sha256: str
    expected: str
    got: str
    scores: dict[str, float]
