"""What a model scores on the questions: loss of the reference response, and accuracy.

The loss of a question with choices is that of naming the right one, with the choices in the prompt, as
Sultana's reader words them. Its accuracy is by cloze: the choice with the lowest mean token loss as a
response to the question alone, since a small model is at chance where it has to name a letter. Questions
without choices are answered greedily and compared by exact match.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.evaluation.harness import exact_match
from assets.evaluation.loaded import held
from assets.finetuning.encoding import ChatEncoder
from assets.finetuning.scoring import Example, LossReport, response_loss
from assets.instructions.multiple_choice import multiple_choice
from tests.experiments.benchmarks import Question

MAXIMUM_LENGTH = 512
NEW_TOKENS = 128
BATCH_TOKENS = 16_384
"""Places of a batch of answers: the more at once, the fewer passes."""


@dataclass(frozen=True)
class Scores:
    """Loss (nats a token) and accuracy by benchmark, and the mean of each over benchmarks."""

    loss: dict[str, float]
    accuracy: dict[str, float]

    @property
    def mean_loss(self) -> float:
        return float(np.mean(list(self.loss.values())))

    @property
    def mean_accuracy(self) -> float:
        return float(np.mean(list(self.accuracy.values())))


class Measure:
    """The questions, encoded once; calling it scores a model."""

    def __init__(self, tokenizer: Any, questions: Sequence[Question], generated: int) -> None:
        """`generated` is how many questions without choices are answered, of each benchmark."""
        self.tokenizer = tokenizer
        self._encoder = ChatEncoder(tokenizer)
        self.references: list[Example] = []
        self.cloze: list[Example] = []  # every choice of every question that has any
        self.choices: list[tuple[str, slice, int]] = []  # benchmark, places in `cloze`, the right one
        self.open: list[Example] = []
        for number, question in enumerate(questions):
            reference = self._example(number, question, *worded(question))
            self.references.append(reference)
            if question.choices:
                first = len(self.cloze)
                self.cloze += [
                    self._example(number, question, question.prompt, one) for one in question.choices
                ]
                right = question.choices.index(question.response)
                self.choices.append((question.benchmark, slice(first, len(self.cloze)), right))
            elif question.answer and sum(one.task == question.benchmark for one in self.open) < generated:
                self.open.append(reference)

    def _example(self, number: int, question: Question, prompt: str, response: str) -> Example:
        return _encoded(self._encoder, number, question, prompt, response)

    def __call__(
        self,
        model: Any,
        benchmarks: Collection[str] | None = None,
        loss_of: Callable[[Sequence[Example]], LossReport] | None = None,
    ) -> Scores:
        """Scores on `benchmarks`, by default all; `loss_of` measures in place of `response_loss`."""
        loss_of = loss_of or (lambda examples: response_loss(model, examples))
        wanted = {one.task for one in self.references} if benchmarks is None else set(benchmarks)
        loss = loss_of([one for one in self.references if one.task in wanted]).per_task
        marks: dict[str, list[bool]] = {}
        choices = [one for one in self.choices if one[0] in wanted]
        if choices:
            found = loss_of([one for _, places, _ in choices for one in self.cloze[places]]).per_example
            start = 0
            for benchmark, places, right in choices:
                end = start + places.stop - places.start
                marks.setdefault(benchmark, []).append(int(np.argmin(found[start:end])) == right)
                start = end
        accuracy = {name: float(np.mean(one)) for name, one in marks.items()}
        if answered := [one for one in self.open if one.task in wanted]:
            answers = exact_match(
                held(model, self.tokenizer),
                answered,
                maximum_new_tokens=NEW_TOKENS,
                batch_tokens=BATCH_TOKENS,
            )
            accuracy |= answers.per_task
        return Scores(loss, accuracy)


def encoded_questions(tokenizer: Any, questions: Sequence[Question]) -> list[Example]:
    """The questions with their reference responses, worded as those whose loss is measured."""
    encoder = ChatEncoder(tokenizer)
    return [_encoded(encoder, number, one, *worded(one)) for number, one in enumerate(questions)]


def _encoded(encoder: ChatEncoder, number: int, question: Question, prompt: str, response: str) -> Example:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    row = encoder.encode(str(number), turns, MAXIMUM_LENGTH)
    return Example(str(number), question.benchmark, row, question.answer)


def worded(question: Question) -> tuple[str, str]:
    """Prompt and response as the reader words a question with choices."""
    if not question.choices:
        return question.prompt, question.response
    turns, _ = multiple_choice(
        {"question": question.prompt, "choices": list(question.choices), "answer": question.response}
    )
    return turns[0]["content"], turns[1]["content"]
