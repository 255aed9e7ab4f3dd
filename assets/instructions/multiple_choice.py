"""Questions with choices, as MMLU, ARC and CommonsenseQA publish them."""

from collections.abc import Mapping
from typing import Any

from assets.instructions.fields import text_of
from assets.instructions.rows import RowProblem

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def multiple_choice(value: Mapping[str, Any]) -> tuple[list[dict[str, str]], str | None]:
    """(turns, label of the right choice) of a question with choices. Raises RowProblem.

    The choices stand below the question, each behind its label; the response is the right one, so.
    """
    question = value.get("question")
    choices = value.get("choices")
    if isinstance(question, Mapping):  # CommonsenseQA nests them
        question, choices = question.get("stem", question.get("text")), question.get("choices", choices)
    text = text_of({"question": question}, "question")
    if isinstance(choices, Mapping):
        labels, texts = choices.get("label"), choices.get("text")
    elif isinstance(choices, list) and choices and all(isinstance(one, Mapping) for one in choices):
        labels, texts = [one.get("label") for one in choices], [one.get("text") for one in choices]
    else:
        labels, texts = None, choices
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise RowProblem("wrong_type", "field 'choices' is not a list of texts")
    if (
        not isinstance(labels, list)
        or len(labels) != len(texts)
        or not all(isinstance(one, str) for one in labels)
    ):
        if len(texts) > len(_LETTERS):
            raise RowProblem(
                "wrong_type",
                f"{len(texts):,} choices without labels, at most {len(_LETTERS)} can be lettered",
            )
        labels = list(_LETTERS[: len(texts)])
    right = next((value[name] for name in ("answer", "answerKey") if value.get(name) is not None), None)
    if isinstance(right, int) and not isinstance(right, bool) and 0 <= right < len(texts):
        place = right
    elif isinstance(right, str) and right.strip() in labels:
        place = labels.index(right.strip())
    elif isinstance(right, str) and right in texts:
        place = texts.index(right)
    else:
        raise RowProblem("missing_field", f"the answer {str(right)[:40]!r} is none of the choices")
    options = "\n".join(f"{label}. {one}" for label, one in zip(labels, texts, strict=True))
    messages = [
        {"role": "user", "content": f"{text}\n{options}"},
        {"role": "assistant", "content": f"{labels[place]}. {texts[place]}"},
    ]
    return messages, labels[place]
