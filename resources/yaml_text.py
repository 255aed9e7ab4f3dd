"""YAML from files of users and strangers: any fault of it is one error, and none of it grows when it is read."""

from collections.abc import Iterator
from typing import Any

import yaml

_MOST_CHARACTERS = 1 << 20
_MOST_VALUES = 100_000


def parse_yaml(text: str) -> Any:
    """What a YAML document holds: mappings, lists and plain values. Raises ValueError that says what is wrong.

    An alias (`*name`) stands for a whole value again, so that a few lines can mean billions of values: more than
    100,000 are refused, and so are more than a million characters.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, at most {_MOST_CHARACTERS:,} are read")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        # The library lets faults of dates, numbers and tags through as they come.
        raise ValueError(f"a value does not have the form of its type ({error})") from None
    for number, _ in enumerate(_values(found)):
        if number >= _MOST_VALUES:
            raise ValueError(f"it stands for more than {_MOST_VALUES:,} values")
    return found


def _values(found: Any) -> Iterator[Any]:
    stack = [found]
    while stack:
        value = stack.pop()
        yield value
        if isinstance(value, dict):
            stack += value.keys()
            stack += value.values()
        elif isinstance(value, list | set):
            stack += value
