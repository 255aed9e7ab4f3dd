"""Strict JSON: one row of bytes to one object, or the reason why not.

Libraries disagree about duplicate keys, NaN, 1e999, long integers and lone surrogates. Here each of
them is a problem. orjson parses the row; what it lets through is found by comparing the keys it kept
with the most keys the bytes can hold, and only rows that fail this are parsed again by the strict parser.
"""

import json
import re
from typing import Any, NoReturn

import orjson

from assets.instructions.rows import Limits, RowProblem

# Every key ends in a quote and a colon, so this counts at least the keys; text such as `"a": ` in a
# string can make it count more, never fewer.
_KEY = re.compile(rb'"[ \t\r\n]*:')
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT64 = 1 << 63
_UNSAFE_FLOAT = 9.2e18
_SPACE = b" \t\r\n"


def parse_object(raw: bytes, limits: Limits) -> dict[str, Any]:
    """The object that `raw` is. Raises RowProblem."""
    # The number of brackets bounds the depth; counting levels exactly is needed only above it.
    if raw.count(b"{") + raw.count(b"[") > limits.depth and _depth(raw, limits.depth) > limits.depth:
        raise RowProblem("too_deep", f"arrays and objects nest more than {limits.depth} levels deep")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _explain(raw, error)
    if type(value) is not dict:
        raise RowProblem("not_an_object", f"found {_kind(value)}, expected an object with named fields")
    keys = _walk(value, limits.field_bytes if len(raw) > limits.field_bytes else 0)
    if keys < 0 or len(_KEY.findall(raw)) != keys:
        value = _strict(raw)
    if b"\\u0000" in raw and _any_string(value, lambda text: "\0" in text):
        raise RowProblem("nul", "a string holds \\u0000")
    return value


def check_value(value: dict[str, Any], limits: Limits) -> None:
    """Hold a row that came from a columnar file to the rules of text. Raises RowProblem."""
    _walk(value, limits.field_bytes)
    if _any_string(value, lambda text: "\0" in text):
        raise RowProblem("nul", "a string holds a NUL character")


def _walk(value: dict[str, Any], longest: int) -> int:
    """The number of keys in `value`; -1 where a number may not be what the text says.

    `longest` is the most bytes a string may have, 0: not checked. Raises RowProblem.
    """
    keys = 0
    suspicious = False
    stack: list[Any] = [value]
    while stack:
        one = stack.pop()
        if type(one) is dict:
            keys += len(one)
            if longest:
                for name in one:
                    _check_length("a field's name", name, longest)
            items: Any = one.items()
        else:
            items = enumerate(one)
        for name, item in items:
            kind = type(item)
            if kind is str:
                if longest and len(item) * 4 > longest:
                    _check_length(f"field '{str(name)[:60]}'", item, longest)
            elif kind is dict or kind is list:
                stack.append(item)
            elif kind is float:
                # orjson turns integers beyond 64 bits into floats without a word.
                suspicious = suspicious or not -_UNSAFE_FLOAT < item < _UNSAFE_FLOAT
            elif kind is int:
                suspicious = suspicious or not -_INT64 <= item < _INT64
    return -1 if suspicious else keys


def _check_length(what: str, text: str, longest: int) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > longest:
        raise RowProblem("field_too_long", f"{what} has {size:,} bytes, at most {longest:,} are allowed")


def _any_string(value: Any, test: Any) -> bool:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            if test(one):
                return True
        elif isinstance(one, dict):
            stack += one.keys()
            stack += one.values()
        elif isinstance(one, list):
            stack += one
    return False


def _depth(raw: bytes, enough: int) -> int:
    """How deep brackets nest outside strings; counting stops above `enough`. Never recurses."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > enough:
                break
        else:
            depth -= 1
    return deepest


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "true or false"}.get(type(value), "a number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RowProblem("duplicate_key", f"field '{name[:60]}' is given twice")
            seen.add(name)
    return value


def _integer(digits: str) -> int:
    # Length first: converting thousands of digits is slow, and refused by Python.
    value = int(digits) if len(digits) <= 20 else _INT64
    if not -_INT64 <= value < _INT64:
        shown = digits if len(digits) <= 24 else f"{digits[:12]}… ({len(digits)} characters)"
        raise RowProblem("integer_out_of_range", f"{shown} does not fit in 64 bits")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise RowProblem("not_finite", f"{digits[:24]} is too large for a 64-bit float")
    return value


def _constant(name: str) -> NoReturn:
    raise RowProblem("not_finite", f"{name} is not a JSON number")


def _strict(raw: bytes) -> Any:
    """The same value by the slow parser. Raises RowProblem, json.JSONDecodeError, UnicodeDecodeError."""
    return json.loads(
        raw.decode("utf-8"),
        object_pairs_hook=_pairs,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )


def _explain(raw: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """Raise the RowProblem that says why orjson refused `raw`."""
    if b"\0" in raw:
        raise RowProblem("nul", f"NUL byte at byte {raw.index(0) + 1} of the row") from None
    try:
        value = _strict(raw)
    except UnicodeDecodeError as wrong:
        byte = raw[wrong.start]
        raise RowProblem("invalid_utf8", f"byte 0x{byte:02x} at byte {wrong.start + 1} of the row") from None
    except json.JSONDecodeError as wrong:
        if wrong.msg == "Extra data":
            raise RowProblem("trailing_data", f"more text from character {wrong.pos + 1} on") from None
        raise RowProblem("not_json", f"{wrong.msg} at character {wrong.pos + 1}") from None
    if _any_string(value, _SURROGATE.search):
        raise RowProblem("lone_surrogate", "a string holds an escape for half a character") from None
    raise RowProblem("not_json", str(error)) from None


def is_blank(raw: bytes) -> bool:
    """Whether `raw` is only JSON white space."""
    return not raw.strip(_SPACE)
