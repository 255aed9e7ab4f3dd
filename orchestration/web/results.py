"""What a mutation came to: the types of its results and the ids that it made, without their texts."""

import re
from typing import Any

import orjson

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,79}")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def read_results(content: bytes) -> tuple[list[str], list[str]]:
    """Names of result types (`errors` where the answer has some), and ids of runs and backfills."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return [], []
    if not isinstance(answer, dict):
        return [], []
    data = answer.get("data")
    found = list(data.values()) if isinstance(data, dict) else []
    kinds = [str(one["__typename"]) for one in found if isinstance(one, dict) and "__typename" in one]
    if answer.get("errors"):
        kinds.append("errors")
    return [one for one in kinds if _TYPE.fullmatch(one)][:20], [
        one for one in _ids(found) if _ID.fullmatch(one)
    ][:20]


def is_result(content: bytes) -> bool:
    """Whether an answer is one of GraphQL."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return isinstance(answer, dict) and "data" in answer


def _ids(values: list[Any]) -> list[str]:
    found = []
    for value in values:
        if isinstance(value, dict):
            for key in ("runId", "backfillId"):
                if isinstance(value.get(key), str):
                    found.append(value[key])
            found += _ids([one for one in value.values() if isinstance(one, dict | list)])
        elif isinstance(value, list):
            found += _ids(value)
    return list(dict.fromkeys(found))
