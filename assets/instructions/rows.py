"""What the reader of user files hands out: a parsed row or a problem, and the limits it keeps."""

import codecs
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from resources.errors import SultanaError
from resources.text import escape_terminal

REASONS: dict[str, str] = {
    # The row's bytes
    "invalid_utf8": "The row is not UTF-8 text.",
    "nul": "The row holds a NUL character.",
    "lone_surrogate": "The row holds half of a surrogate pair (\\ud800 to \\udfff), no character.",
    "line_too_long": "The row is longer than a row may be.",
    "field_too_long": "A field of the row is longer than a field may be.",
    "too_deep": "The row nests arrays and objects deeper than a row may.",
    # JSON
    "not_json": "The row is not valid JSON.",
    "not_an_object": "The row is a JSON value, but not an object with named fields.",
    "duplicate_key": "The row names a field twice, so that its content depends on the program that reads it.",
    "not_finite": "The row holds NaN, Infinity or a number too large for a 64-bit float.",
    "integer_out_of_range": "The row holds an integer outside 64 bits, which programs round differently.",
    "trailing_data": "More text follows the row's JSON object on the same line or in the same element.",
    "ends_mid_row": "The file ends in the middle of the row.",
    # CSV
    "csv_syntax": "The row breaks the quoting rules of CSV (RFC 4180).",
    "unterminated_quote": "A quote that opens in the row is never closed, to the end of the file.",
    "ragged_row": "The row has more or fewer fields than the header.",
    # Shape
    "unknown_shape": "The row's fields match no known shape of an instruction.",
    "missing_field": "A field that the row's shape requires is missing or null.",
    "wrong_type": "A field holds something other than text, or than the list that its shape requires.",
    "unknown_role": "A turn's role is not one of system, user and assistant, or a known name for one.",
    "unsupported_turn": "A turn calls a tool, is not text, or is excluded from the loss.",
    "bad_task": "The field that was named as the task label holds none.",
    # Conversation
    "no_messages": "The conversation has no turns.",
    "system_not_first": "A system turn comes after another turn.",
    "first_turn_not_user": "The conversation begins with the assistant.",
    "two_assistant_turns": "Two assistant turns follow each other, and one of them answers nothing.",
    "no_assistant_turn": "The conversation has no assistant turn, so there is nothing to learn from it.",
    "last_turn_not_assistant": "The conversation ends with a turn that nobody answers.",
    "empty_instruction": "A user or system turn is empty or blank.",
    "empty_response": "The response is missing, empty or blank.",
    "control_token": "The text holds a control token of a chat template.",
    "hidden_control_token": "The text holds a control token behind look-alike or zero-width signs.",
    "template_markers": "The text holds a rendered prompt: '### Instruction:' and then '### Response:'.",
    "bidirectional_control": "The text holds characters that reorder the display of other characters.",
    "invisible_characters": "The text holds zero-width characters inside words or in number.",
    "tag_characters": "The text holds Unicode tag characters, which can hide instructions.",
    "private_data": "The row holds a key, a token, an e-mail address or a card number, which its source refuses.",
    # File
    "unreadable_file": "The file could not be read.",
}
"""Every code that `problem` or `reason` may hold, and a sentence that explains it."""


@dataclass(frozen=True)
class Limits:
    """What a row and a compressed file may measure. Sizes are in bytes."""

    row_bytes: int = 1 << 20
    field_bytes: int = 256 << 10
    depth: int = 16
    raw_text_bytes: int = 200
    unpacked_bytes: int = 2 << 30
    ratio: int = 200
    ratio_from_bytes: int = 8 << 20
    """Output up to this size is harmless whatever its ratio: repetitive small files compress well."""


class RowProblem(Exception):
    """A row that cannot be read: `reason` is a key of REASONS, `detail` says what in this row."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class ParsedRow(NamedTuple):
    """A row of a file. Exactly one of `value` and `problem` is set.

    `position` counts from 1: the line of JSONL, the first line of a CSV record, the element of a JSON
    array, the instance of a task document, the row of Parquet. `byte_offset` is where the row begins in
    the unpacked file, -1 for Parquet. `raw` is the row's text, or its beginning (empty for Parquet).
    """

    position: int
    byte_offset: int
    value: dict[str, Any] | None
    problem: str | None
    detail: str | None
    raw: bytes

    def raw_text(self, limit: int) -> str:
        """The first `limit` bytes of the row, with invisible characters spelt out."""
        raw = self.raw
        if not raw and self.value is not None:
            raw = orjson.dumps(self.value, default=str)
        return escape_bytes(raw, limit)


def escape_bytes(raw: bytes, limit: int) -> str:
    """The first `limit` bytes of `raw` as text on one line: what is not visible or not UTF-8 is spelt out."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    # Not final where it is cut: half a character at the cut is dropped, not shown as garbage.
    return escape_terminal(decoder.decode(raw[:limit], final=len(raw) <= limit))


def refuse_repeated(columns: Iterable[str], name: str) -> None:
    """Raise SultanaError where a file names two columns alike: what a row holds would depend on the reader."""
    twice = sorted(column for column, times in Counter(columns).items() if times > 1)
    if twice:
        raise SultanaError(
            f"{name} has two columns named '{escape_terminal(twice[0], 60)}'",
            "Give every column a name of its own",
            code="column-name-twice",
        )


def problem_row(position: int, offset: int, reason: str, detail: str, raw: bytes) -> ParsedRow:
    """A row that could not be read."""
    return ParsedRow(position, offset, None, reason, detail, raw)
