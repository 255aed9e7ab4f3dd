"""What a model scores on the questions: loss of the reference response, and accuracy.

The loss of a question with choices is that of naming the right one, with the choices in the prompt, as
Sultana's reader words them. Its accuracy is by cloze: the choice with the lowest mean token loss as a
response to the question alone, since a small model is at chance where it has to name a letter. Questions
without choices are answered greedily and compared by exact match.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.evaluation.harness import exact_match
from assets.finetuning.encoding import ChatEncoder
from assets.finetuning.scoring import Example, response_loss
from assets.instructions.multiple_choice import multiple_choice
from tests.experiments.corpora import Question

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
            reference = self._example(number, question, *_worded(question))
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
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        row = self._encoder.encode(str(number), turns, MAXIMUM_LENGTH)
        return Example(str(number), question.benchmark, row, question.answer)

    def __call__(self, model: Any) -> Scores:
        loss = response_loss(model, self.references).per_task
        marks: dict[str, list[bool]] = {}
        if self.cloze:
            found = response_loss(model, self.cloze).per_example
            for benchmark, places, right in self.choices:
                marks.setdefault(benchmark, []).append(int(np.argmin(found[places])) == right)
        accuracy = {name: float(np.mean(one)) for name, one in marks.items()}
        if self.open:
            answers = exact_match(
                model, self.tokenizer, self.open, maximum_new_tokens=NEW_TOKENS, batch_tokens=BATCH_TOKENS
            )
            accuracy |= answers.per_task
        return Scores(loss, accuracy)


def _worded(question: Question) -> tuple[str, str]:
    """Prompt and response as the reader words a question with choices."""
    if not question.choices:
        return question.prompt, question.response
    turns, _ = multiple_choice(
        {"question": question.prompt, "choices": list(question.choices), "answer": question.response}
    )
    return turns[0]["content"], turns[1]["content"]
