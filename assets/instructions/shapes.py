"""The shapes that instruction files come in, mapped to one: a list of turns with a role and a content.

| shape | fields |
|---|---|
| `messages` | `messages` (or `conversations`): a list of `{role, content}` |
| `sharegpt` | `conversations` (or `conversation`, `messages`): a list of `{from, value}`; `system` |
| `super_natural_instructions` | `definition`, `input`, `output` (a text or a list; the first counts) |
| `alpaca` | `instruction`, `output` (or `response`); `input` (or `context`), `system`, `history` |
| `multiple_choice` | `question`, `choices`, `answer` (a letter, a number or the text) or `answerKey` |
| `prompt_completion` | a pair of PAIRS, such as `prompt` and `completion`; text, or lists of turns |

A row's shape is the first of these whose marks it has, unless the source sets one. Fields that no shape
names are not read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from assets.instructions.fields import kind_of, label_of, optional_text, response_of, text_of
from assets.instructions.multiple_choice import multiple_choice
from assets.instructions.rows import RowProblem

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "output"),
    ("prompt", "canonical_solution"),
    ("question", "answer"),
    ("question", "response"),
    ("question", "output"),
    ("query", "response"),
    ("inputs", "targets"),
    ("input", "output"),
    ("text", "code"),
)
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}
_TASK_FIELDS = ("task", "task_name", "category", "subject", "source")
_LICENCE_FIELDS = ("licence", "license")
_FINAL_ANSWER = "####"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """A row as turns, each `{"role", "content"}` with the text as it was found, and its labels."""

    messages: list[Message]
    task: str | None = None
    licence: str | None = None
    answer: str | None = None
    """The short answer that exact match compares, where the row gives one."""


def to_conversation(
    value: Mapping[str, Any], shape: str | None = None, task_field: str | None = None
) -> Conversation:
    """A parsed row as a conversation.

    `shape`: one of SHAPES, None: detected. `task_field`: the field that holds the task label, None: the
    first of `task`, `task_name`, `category`, `subject` and `source` that is a short text. Text after
    `####` at a line's start (GSM8K) is the answer, unless a field `answer` beside the response is.
    Raises RowProblem.
    """
    chosen = shape or shape_of(value)
    if chosen is None:
        fields = ", ".join(sorted(str(name)[:40] for name in value)[:12])
        raise RowProblem("unknown_shape", f"fields found: {fields or 'none'}")
    messages, answer = SHAPES[chosen](value)
    return Conversation(messages, _task(value, task_field), label_of(value, _LICENCE_FIELDS), answer)


def shape_of(value: Mapping[str, Any]) -> str | None:
    """The name of the shape that a row's fields have; None where no shape fits."""
    turns = _turns_field(value)
    if turns is not None:
        first = next((turn for turn in value[turns] if isinstance(turn, Mapping)), {})
        return "sharegpt" if "from" in first else "messages"
    if "definition" in value or "Definition" in value:
        return "super_natural_instructions"
    if "instruction" in value:
        return "alpaca"
    if "question" in value and ("choices" in value or isinstance(value["question"], Mapping)):
        return "multiple_choice"
    if any(prompt in value and response in value for prompt, response in PAIRS):
        return "prompt_completion"
    # Half of a pair: the shape is clear, and what is missing can be said.
    return "prompt_completion" if any(prompt in value for prompt in ("prompt", "question", "query")) else None


def _turns_field(value: Mapping[str, Any]) -> str | None:
    for name in ("messages", "conversations", "conversation"):
        if isinstance(value.get(name), list):
            return name
    return None


def _user(instruction: str, given: str) -> Message:
    return {"role": "user", "content": f"{instruction}\n\n{given}" if given.strip() else instruction}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _system(value: Mapping[str, Any]) -> list[Message]:
    text = optional_text(value, "system", "system_prompt")
    return [{"role": "system", "content": text}] if text.strip() else []


def _final_answer(response: str) -> str | None:
    """What follows the last `####` at a line's start; thousands separators of a number are left out."""
    # No pattern with white space at both ends: a long run of spaces makes one go through it again and again.
    for line in reversed(response.split("\n")) if _FINAL_ANSWER in response else ():
        found = line.removeprefix(_FINAL_ANSWER).strip(" \t")
        if line.startswith(_FINAL_ANSWER) and found and not found[0].isspace():
            plain = found.replace(",", "")
            return plain if _NUMBER.fullmatch(plain) else found
    return None


def _answer(value: Mapping[str, Any], response: str) -> str | None:
    given = value.get("answer")
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return _final_answer(response)
    return str(given).strip() or None


def _alpaca(value: Mapping[str, Any]) -> tuple[list[Message], str | None]:
    messages = _system(value)
    history = value.get("history")
    if history is not None and not isinstance(history, list):
        raise RowProblem("wrong_type", f"field 'history' holds {kind_of(history)}, expected a list of pairs")
    for place, pair in enumerate(history or [], start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)):
            raise RowProblem("wrong_type", f"entry {place} of 'history' is not a pair of texts")
        messages += [{"role": "user", "content": pair[0]}, _assistant(pair[1])]
    response = response_of(value, "output", "response")
    messages += [
        _user(text_of(value, "instruction"), optional_text(value, "input", "context")),
        _assistant(response),
    ]
    return messages, _answer(value, response)


def _super_natural_instructions(value: Mapping[str, Any]) -> tuple[list[Message], str | None]:
    definition = value.get("definition", value.get("Definition"))
    if isinstance(definition, list) and definition and all(isinstance(one, str) for one in definition):
        definition = "\n".join(definition)
    if not isinstance(definition, str):
        raise RowProblem("wrong_type", f"field 'definition' holds {kind_of(definition)}, expected text")
    name = next((name for name in ("output", "targets") if name in value), "output")
    outputs = value.get(name)
    if isinstance(outputs, list):
        # Several references are equally right; the first keeps the row the same in every run.
        response = response_of({name: outputs[0] if outputs else None}, name)
    else:
        response = response_of(value, "output", "targets")
    return [_user(definition, text_of(value, "input", "inputs")), _assistant(response)], None


def _sharegpt(value: Mapping[str, Any]) -> tuple[list[Message], str | None]:
    return _turns(value, "from", "value"), _answer(value, "")


def _messages(value: Mapping[str, Any]) -> tuple[list[Message], str | None]:
    return _turns(value, "role", "content"), _answer(value, "")


def _turns(value: Mapping[str, Any], role: str, content: str) -> list[Message]:
    name = _turns_field(value)
    if name is None:
        present = next((one for one in ("messages", "conversations", "conversation") if one in value), None)
        if present is None:
            raise RowProblem("missing_field", "no field 'messages' or 'conversations'")
        raise RowProblem(
            "wrong_type", f"field '{present}' holds {kind_of(value[present])}, expected a list of turns"
        )
    messages = [_turn(turn, place, role, content) for place, turn in enumerate(value[name], start=1)]
    if messages and messages[0]["role"] == "system":
        return messages
    return _system(value) + messages


def _turn(turn: Any, place: int, role: str, content: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowProblem("wrong_type", f"turn {place} holds {kind_of(turn)}, expected an object")
    name = turn.get(role)
    if not isinstance(name, str):
        raise RowProblem("missing_field", f"turn {place} has no '{role}'")
    known = _ROLES.get(name.strip().lower())
    if known is None:
        raise RowProblem("unknown_role", f"turn {place} is by '{name[:60]}'")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise RowProblem("unsupported_turn", f"turn {place} calls a tool")
    weight = turn.get("weight")
    if weight is not None and weight != 1:
        raise RowProblem(
            "unsupported_turn", f"turn {place} has the weight {str(weight)[:20]}, only 1 can be kept"
        )
    text = turn.get(content)
    if isinstance(text, list):
        text = _parts(text, place)
    if text is None:
        raise RowProblem(
            "empty_response" if known == "assistant" else "missing_field", f"turn {place} has no '{content}'"
        )
    if not isinstance(text, str):
        raise RowProblem("wrong_type", f"'{content}' of turn {place} holds {kind_of(text)}, expected text")
    return {"role": known, "content": text}


def _parts(parts: list[Any], place: int) -> str:
    """The text of a content that is a list of parts; only text can be learned from."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
    if len(texts) != len(parts):
        raise RowProblem("unsupported_turn", f"turn {place} has parts that are not text")
    return "\n".join(texts)


def _prompt_completion(value: Mapping[str, Any]) -> tuple[list[Message], str | None]:
    pair = next(((left, right) for left, right in PAIRS if left in value and right in value), None)
    if pair is None:
        prompt = next((left for left, _ in PAIRS if left in value), None)
        if prompt is None:
            raise RowProblem("missing_field", "no field 'prompt', 'question', 'query', 'inputs' or 'input'")
        wanted = " or ".join(f"'{right}'" for left, right in PAIRS if left == prompt)
        raise RowProblem("missing_field", f"no field {wanted} beside '{prompt}'")
    left, right = pair
    if isinstance(value[left], list) and isinstance(value[right], list):
        turns = value[left] + value[right]
        return [_turn(turn, place, "role", "content") for place, turn in enumerate(turns, start=1)], None
    response = response_of(value, right)
    messages = [*_system(value), {"role": "user", "content": text_of(value, left)}, _assistant(response)]
    return messages, _final_answer(response) if right == "answer" else _answer(value, response)


SHAPES: dict[str, Callable[[Mapping[str, Any]], tuple[list[Message], str | None]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "super_natural_instructions": _super_natural_instructions,
    "alpaca": _alpaca,
    "multiple_choice": multiple_choice,
    "prompt_completion": _prompt_completion,
}


def _task(value: Mapping[str, Any], task_field: str | None) -> str | None:
    if task_field is None:
        return label_of(value, _TASK_FIELDS)
    label = value.get(task_field)
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if found := label_of(value, (task_field,)):
        return found
    raise RowProblem("bad_task", f"field '{task_field[:60]}' is missing, empty, too long or not text")
