"""Exact match: greedy answers to held-out prompts, compared with reference answers.

What counts as the answer of a generated text, in this order:
1. what follows the last "####" of a line (GSM8K's mark);
2. what follows the last "answer is", "answer:" or "answer =", up to the end of its line or sentence;
3. where the reference is a number, the last number of the text;
4. the text's last line that is not blank.
Where the reference is a number, the last number of what rules 1 and 2 give is taken, or its first where
the text goes on ("18 dollars a day for 2 days").

Two answers are equal when they are after this normalisation: Unicode NFKC, case folded, thousands
separators, currency and percent signs taken out of numbers, a number in its shortest form (18.0 is 18),
articles and punctuation removed, white space single. A reference of one letter (multiple choice) is
compared with a letter alone or in brackets.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import torch

from assets.evaluation.loaded import LoadedModel, in_evaluation
from assets.finetuning.encoding import ChatEncoder
from assets.finetuning.scoring import Example, batches_by_length

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_MARKED = re.compile(r"####[ \t]*([^\n]+)")
_STATED = re.compile(r"answer(?:\s+is|\s*[:=])[ \t]*:?[ \t]*([^\n]+)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[^\d\s])\.(?:\s|$)|(?<=\d)\.(?=\s+[A-Z]|\s*$)")
_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-Za-z])\)?(?![A-Za-z'])")


@dataclass(frozen=True)
class Prediction:
    """One generated response and how it was judged."""

    example_id: str
    text: str
    extracted: str
    correct: bool


@dataclass(frozen=True)
class AccuracyReport:
    """Share of examples answered correctly: `mean` over tasks with equal weight; predictions in order."""

    mean: float
    per_task: dict[str, float]
    examples: dict[str, int]
    predictions: tuple[Prediction, ...]


def normalised_answer(text: str) -> str:
    """The form in which answers are compared; see this module's docstring."""
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    bare = re.sub(r"[\s$€£¥%]|,(?=\d{3})", "", text).rstrip(".")
    if _NUMBER.fullmatch(bare):
        return _shortest(bare)
    text = re.sub(r"[^\w\s]", " ", text)
    text = re.sub(r"\b(?:a|an|the)\b(?=\s+\S)", " ", text)
    return " ".join(text.split())


def _shortest(number: str) -> str:
    try:
        value = Decimal(number.replace(",", ""))
    except InvalidOperation:
        return number
    if value == value.to_integral_value():
        return str(int(value))
    return format(value.normalize(), "f")


def extracted_answer(text: str, reference: str) -> str:
    """The answer that a generated text gives, in the form of the reference (number, letter or words)."""
    is_number = _NUMBER.fullmatch(normalised_answer(reference)) is not None
    is_letter = re.fullmatch(r"[A-Za-z]", reference.strip()) is not None
    stated = _MARKED.findall(text) or _STATED.findall(text)
    if stated:
        phrase = _SENTENCE_END.split(stated[-1], maxsplit=1)[0].strip()
    else:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        phrase = text if is_number else (lines[-1] if lines else "")
    if is_number:
        numbers = _NUMBER.findall(phrase)
        if numbers:
            return str(numbers[0] if stated else numbers[-1])
        return phrase.strip()
    if is_letter and (letter := _LETTER.search(phrase)):
        return letter[1]
    return phrase


def is_correct(text: str, reference: str) -> bool:
    """Whether a generated text gives the reference answer."""
    return normalised_answer(extracted_answer(text, reference)) == normalised_answer(reference)


def exact_match(
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    maximum_new_tokens: int = 128,
    batch_tokens: int = 2048,
    on_examples: Callable[[int], object] | None = None,
) -> AccuracyReport:
    """Answer each prompt greedily and compare. Examples without an answer are an error of the caller.

    Batched with a key-value cache, prompts padded on the left; a response ends at its end-of-turn token or
    after `maximum_new_tokens`. `on_examples` gets the number of examples answered since the last time.
    Deterministic for the same weights and batches.
    """
    if not examples or any(example.answer is None for example in examples):
        raise ValueError("Exact match needs examples, each with an answer")
    texts = generate(
        model,
        [example.encoded.prompt_ids.tolist() for example in examples],
        maximum_new_tokens=maximum_new_tokens,
        batch_tokens=batch_tokens,
        on_texts=on_examples,
    )
    predictions = tuple(
        Prediction(
            example.example_id,
            text,
            extracted_answer(text, example.answer or ""),
            is_correct(text, example.answer or ""),
        )
        for example, text in zip(examples, texts, strict=True)
    )
    per_task: dict[str, float] = {}
    numbers: dict[str, int] = {}
    for task in sorted({example.task for example in examples}):
        marks = [p.correct for p, example in zip(predictions, examples, strict=True) if example.task == task]
        per_task[task], numbers[task] = sum(marks) / len(marks), len(marks)
    return AccuracyReport(sum(per_task.values()) / len(per_task), per_task, numbers, predictions)


def generate(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    maximum_new_tokens: int,
    batch_tokens: int = 2048,
    on_texts: Callable[[int], object] | None = None,
) -> list[str]:
    """Greedy continuations of token ids, in the order given, without control tokens; each batch is a part."""
    texts = [""] * len(prompts)
    batches = list(batches_by_length([len(prompt) + maximum_new_tokens for prompt in prompts], batch_tokens))
    parts = (_Continued([prompts[place] for place in places], maximum_new_tokens) for places in batches)
    for places, found in zip(batches, model.map(parts), strict=True):
        for place, text in zip(places, found, strict=True):
            texts[place] = text
        if on_texts is not None:
            on_texts(len(places))
    return texts


@dataclass(frozen=True, eq=False)
class _Continued:
    """The continuations of one batch of prompts."""

    prompts: Sequence[Sequence[int]]
    maximum_new_tokens: int

    def __call__(self, model: Any, tokenizer: Any) -> list[str]:
        from transformers import GenerationConfig

        ends = sorted(ChatEncoder(tokenizer).end_ids)
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        settings = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.maximum_new_tokens,
            eos_token_id=ends,
            pad_token_id=padding,
            use_cache=True,
        )
        device = model.get_input_embeddings().weight.device
        width = max(map(len, self.prompts))
        ids = torch.full((len(self.prompts), width), padding, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(self.prompts):
            ids[row, width - len(prompt) :] = torch.as_tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        with in_evaluation(model):
            out = model.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=settings
            )
        found = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [text.strip() for text in found]
