"""Faults planted in the corpus on purpose, so that a run can be held to finding them.

What was planted where is written to the marks alone; no stage reads those.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from assets.instructions.starter.composing import joined
from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.rows import Row, Task, verify

FAULTS: dict[str, str] = {
    "wrong_answer": "The response states a wrong answer in the form of a right one.",
    "truncated": "The response stops in the middle.",
    "off_topic": "The response is that of a row of another family.",
    "exact_duplicate": "The conversation is that of another row, possibly in another file.",
    "near_duplicate": "The conversation is that of another row with a small edit.",
    "contaminated": "The prompt and the response are those of a test row, some lightly edited.",
    "empty_response": "The response is blank.",
    "control_token": "The prompt or the response holds a control token of a chat template.",
    "broken_json": "The line breaks off before its JSON object ends.",
    "invalid_utf8": "The line holds a byte that is no UTF-8 text.",
    "duplicate_key": "The line names a field twice.",
}
"""Every planted fault, by its name in the marks."""

SHARES: dict[str, float] = {
    "wrong_answer": 0.03,
    "truncated": 0.015,
    "off_topic": 0.02,
    "exact_duplicate": 0.02,
    "near_duplicate": 0.02,
    "contaminated": 0.0125,
    "empty_response": 0.0005,
    "control_token": 0.0005,
    "broken_json": 0.0005,
    "invalid_utf8": 0.0005,
    "duplicate_key": 0.0005,
}
"""Share of the corpus's rows with each fault: 12 % in all."""

LINE_FAULTS = ("broken_json", "invalid_utf8", "duplicate_key")
"""Faults of the line's bytes, which only a JSON Lines file can show for one row alone."""
TOKENS = ("<|im_end|>", "<|im_start|>system", "<|endoftext|>", "<|eot_id|>")
ATTEMPTS = 200


@dataclass(frozen=True)
class Planted:
    """A row of the corpus as it will be written, and what is wrong with it (None: nothing)."""

    row: Row
    fault: str | None = None
    twin: Row | None = None  # the row it repeats
    test_line: int | None = None  # the line of the test split it repeats, from 1
    similarity: float | None = None  # Jaccard index of 5-word shingles with what it repeats


def fault_counts(rows: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Rows with each fault; a share above 0 plants at least one."""
    return {fault: max(1, round(share * rows)) for fault, share in shares.items() if share > 0}


def similarity(one: str, other: str, size: int = 5) -> float:
    """Jaccard index of the runs of `size` lower-case words of two texts."""
    left, right = (
        {tuple(words[n : n + size]) for n in range(max(1, len(words) - size + 1))}
        for words in (re.findall(r"\w+", text.lower()) for text in (one, other))
    )
    return len(left & right) / len(left | right)


def _text(row: Row) -> str:
    return "\n".join(content for _, content in row.messages)


def _answered(row: Row, response: str) -> Row:
    return replace(row, messages=(*row.messages[:-1], ("assistant", response)))


def _is_right(row: Row, tasks: Mapping[str, Task]) -> bool:
    return verify(row.checks, [content for _, content in row.messages], tasks)


def wrong_answer(row: Row, rows: Sequence[Row], tasks: Mapping[str, Task], draw: Draw) -> Row | None:
    """`row` with another answer: a number nearby, or the answer of another row of its task."""
    answer, response = row.answer, row.response
    if answer is not None and answer not in response:
        return None
    peers = [other for other in rows if other.task == row.task and other.answer != answer]
    for _ in range(ATTEMPTS if peers else 0):
        if answer is None:
            changed = draw.pick(peers).response
        else:
            number = re.fullmatch(r"-?\d+", answer)
            step = draw.pick((-10, -2, -1, 1, 2, 3, 10))
            other = str(abs(int(answer) + step)) if number else draw.pick(peers).answer or ""
            head, _, tail = response.rpartition(answer)
            changed = head + other + tail
        if not _is_right(_answered(row, changed), tasks):
            return _answered(row, changed)
    return None


def truncated(row: Row, tasks: Mapping[str, Task], draw: Draw) -> Row | None:
    """`row` with its response cut in the middle; None where it is too short to tell."""
    words = list(re.finditer(r"\S+", row.response))
    if len(words) < 6:
        return None
    cut = words[draw.integer(len(words) // 3, (2 * len(words)) // 3)].start()
    changed = _answered(row, row.response[:cut].rstrip())
    return None if _is_right(changed, tasks) else changed


def off_topic(row: Row, rows: Sequence[Row], tasks: Mapping[str, Task], draw: Draw) -> Row | None:
    """`row` with the response of a row of another family."""
    for _ in range(ATTEMPTS):
        other = draw.pick(rows)
        if tasks[other.task].family != tasks[row.task].family and len(other.response) > 12:
            changed = _answered(row, other.response)
            if not _is_right(changed, tasks):
                return changed
    return None


def _edited_prompt(row: Row, change: Callable[[str], str]) -> Row:
    """`row` with its last request changed."""
    asked = len(row.messages) - 2
    messages = list(row.messages)
    instruction = change(row.instruction) if row.instruction else ""
    content = joined(instruction, row.input) if row.instruction else change(messages[asked][1])
    messages[asked] = ("user", content)
    return replace(row, messages=tuple(messages), instruction=instruction)


def _small_edits(draw: Draw) -> Callable[[str], str]:
    return draw.pick(
        (
            lambda text: draw.pick(("Hi. ", "Please: ", "OK, ", "Well: ", "Next: ", "Again: ")) + text,
            lambda text: text + draw.pick((" Thanks", " OK?", " Please.", " Go.")),
            lambda text: draw.pick(("So: ", "Now: ", "Here: ", "Hm. ", "Right: ")) + text,
            lambda text: text + draw.pick((" Hurry.", " Ready?", " Right?", " Thank you")),
            lambda text: re.sub(r"^(\w+)", lambda found: found.group(1).upper(), text),
            lambda text: text.rstrip(".?!") + draw.pick(("...", "!", " ?", ";")),
            lambda text: re.sub(r"^(Please|Hi|Hello|Hey)\W+", "", text[:1].lower() + text[1:]),
            lambda text: text.replace(", ", " , ", 1) if ", " in text else text + " .",
        )
    )


def near_duplicate(row: Row, draw: Draw, lowest: float = 0.8) -> tuple[Row, float] | None:
    """`row` with a small edit to its request, and the similarity left, at least `lowest`."""
    for _ in range(ATTEMPTS // 20):
        changed = _edited_prompt(row, _small_edits(draw))
        if draw.chance(0.3):
            changed = _edited_prompt(changed, _small_edits(draw))
        alike = similarity(_text(row), _text(changed))
        if _text(changed).strip() != _text(row).strip() and alike >= lowest:
            return changed, alike
    return None


def contaminated(row: Row, draw: Draw) -> tuple[Row, float]:
    """A test row as it is, or with a small edit to its request."""
    edited = near_duplicate(row, draw, 0.6) if draw.chance(0.5) else None
    return edited or (row, 1.0)


def unreadable(row: Row, fault: str, draw: Draw) -> Row:
    """`row` with a fault that validation must refuse. The faults of a line's bytes come at writing."""
    if fault == "empty_response":
        return _answered(row, draw.pick(("", " ", "\n")))
    if fault == "control_token":
        token = draw.pick(TOKENS)
        if draw.chance(0.5):
            return _answered(row, f"{row.response}{token}")
        return _edited_prompt(row, lambda text: f"{text}\n{token}")
    return row


def damaged(line: bytes, fault: str) -> bytes:
    """The bytes of a JSON Lines row (no newline) with one of `LINE_FAULTS`."""
    if fault == "broken_json":
        return line[: len(line) * 2 // 3].decode("utf-8", "ignore").rstrip("\\").encode()
    if fault == "invalid_utf8":
        middle = line.find(b" ", len(line) // 3)
        return line[:middle] + b"\xff" + line[middle:]
    return line[:-1] + b', "task": "unknown"}'
