"""What a read-only check of a store reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something wrong in a store: which table (or model), what, and the remedy."""

    table: str
    problem: str
    remedy: str
