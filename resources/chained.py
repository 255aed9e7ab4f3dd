"""Records that each carry the hash of the one before: an edited, removed or inserted one shows.

A record is its place from 1, what it says, the hash of the record before (empty for the first) and its own hash.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence


def chained_hash(fields: Sequence[object]) -> str:
    """SHA-256 (hexadecimal) of a record without its own hash; its fields are JSON values."""
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode("ascii")).hexdigest()


def first_unchained(records: Iterable[Sequence[object]]) -> int | None:
    """The place of the first record that does not follow from the one before it; None if all do."""
    before: object = ""
    for place, (*fields, own) in enumerate(records, start=1):
        if fields[0] != place or fields[-1] != before or own != chained_hash(fields):
            return place
        before = own
    return None
