"""The identity of a row: hashes of canonical content, the same on every machine and in every version."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

ID_LENGTH = 32
"""Hexadecimal digits of an id: the first 128 bits of a SHA-256."""


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal, 64 digits) of a JSON value with sorted keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def canonical_text(text: str) -> str:
    """NFC, newlines as `\\n`, no white space at the ends. NFKC would forge control tokens."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def instruction_id(messages: Sequence[Mapping[str, str]]) -> str:
    """The id of a conversation: a hash of its roles and canonical contents, in order."""
    turns = [[message["role"], canonical_text(message["content"])] for message in messages]
    return digest(turns)[:ID_LENGTH]


def origin_id(file_sha256: str, position: int, content: str) -> str:
    """The id of one row of one file: its file's hash, its position there and a hash of its content."""
    return digest([file_sha256, position, content])[:ID_LENGTH]


def example_id(split: str, prompt: Sequence[Mapping[str, str]], response: str) -> str:
    """The id of a benchmark example."""
    turns = [[message["role"], canonical_text(message["content"])] for message in prompt]
    return digest([split, turns, canonical_text(response)])[:ID_LENGTH]


def recipe_id(parent_a: str, parent_b: str, weight: float, seed: int, layer: int, alignment: str) -> str:
    """The id of an interpolated row: a hash of its recipe. `weight` is λ, the weight of `parent_a`."""
    return digest([parent_a, parent_b, weight, seed, layer, alignment])[:ID_LENGTH]


def decision_id(before: str | None, document: Mapping[str, Any]) -> str:
    """The id of a decision: a hash of what was decided and of the id of the decision before it."""
    return digest([before, dict(document)])[:ID_LENGTH]


class RowsDigest:
    """SHA-256 of a set of rows, whatever their order, as they stream by. Holds 32 bytes a row."""

    def __init__(self) -> None:
        self._hashes = bytearray()

    def add(self, row: Any) -> None:
        """Adds one row, a JSON value."""
        self._hashes += hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).digest()

    def hexdigest(self) -> str:
        """The digest of all rows added so far: 64 hexadecimal digits."""
        hashes = memoryview(self._hashes)
        root = hashlib.sha256()
        for one in sorted(bytes(hashes[start : start + 32]) for start in range(0, len(hashes), 32)):
            root.update(one)
        return root.hexdigest()


def rows_digest(rows: Iterable[Any]) -> str:
    """SHA-256 of a set of rows, whatever their order."""
    found = RowsDigest()
    for row in rows:
        found.add(row)
    return found.hexdigest()
