"""The corpus in four file shapes, and the place of every row in them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assets.instructions.starter.faults import LINE_FAULTS, Planted, damaged
from assets.instructions.starter.rows import LICENCE, Row

SHAPES = {"alpaca.jsonl": 0.42, "messages.jsonl": 0.28, "sharegpt.json": 0.15, "prompts.csv": 0.15}
"""The files of instructions and their share of the rows."""
CHAT_SHAPES = {"messages.jsonl": 0.65, "sharegpt.json": 0.35}
"""The files that can hold several turns or a system message."""
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Place:
    """Where a row was written."""

    file: str
    row: int  # from 1
    position: int  # as the reader counts: first line of the row (JSON Lines, CSV) or element (JSON), from 1


def to_json(value: Any) -> str:
    """JSON text with its letters as they are."""
    return json.dumps(value, ensure_ascii=False)


def _messages(row: Row) -> dict[str, Any]:
    turns = [{"role": role, "content": content} for role, content in row.messages]
    return {"messages": turns, "task": row.task, "licence": LICENCE}


def _alpaca(row: Row) -> dict[str, Any]:
    value = {"instruction": row.instruction, "input": row.input, "output": row.response}
    return {**value, "task": row.task, "licence": LICENCE}


def _sharegpt(row: Row) -> dict[str, Any]:
    turns = [{"from": SPEAKERS[role], "value": content} for role, content in row.messages]
    return {"conversations": turns, "task": row.task, "licence": LICENCE}


def _lines(planted: Sequence[Planted], file: str) -> tuple[bytes, list[int]]:
    shape = _alpaca if file == "alpaca.jsonl" else _messages
    lines = []
    for one in planted:
        line = to_json(shape(one.row)).encode()
        lines.append(damaged(line, one.fault) if one.fault in LINE_FAULTS else line)
    return b"".join(line + b"\n" for line in lines), list(range(1, len(lines) + 1))


def _array(planted: Sequence[Planted]) -> tuple[bytes, list[int]]:
    body = ",\n".join(to_json(_sharegpt(one.row)) for one in planted)
    return f"[\n{body}\n]\n".encode(), list(range(1, len(planted) + 1))


def _table(planted: Sequence[Planted]) -> tuple[bytes, list[int]]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prompt", "completion", "task"])
    lines, line = [], 2
    for one in planted:
        lines.append(line)
        writer.writerow([one.row.prompt, one.row.response, one.row.task])
        line += one.row.prompt.count("\n") + one.row.response.count("\n") + 1
    return text.getvalue().encode(), lines


def written(planted: Sequence[Planted], file: str) -> tuple[bytes, list[Place]]:
    """The bytes of one file of instructions and the place of each of its rows."""
    make = {"sharegpt.json": _array, "prompts.csv": _table}.get(file)
    data, positions = make(planted) if make else _lines(planted, file)
    return data, [Place(file, row, position) for row, position in enumerate(positions, 1)]


def written_split(rows: Sequence[Row]) -> bytes:
    """The bytes of a split: JSON Lines of task, instruction, input, output and answer."""
    values = [
        {
            "task": row.task,
            "instruction": row.instruction,
            "input": row.input,
            "output": row.response,
            "answer": row.answer,
        }
        for row in rows
    ]
    return "".join(to_json(value) + "\n" for value in values).encode()
