"""Which evaluations can be compared."""

from collections.abc import Mapping
from typing import Any


def are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two evaluations (lineage records) scored on the same data with the same settings."""
    return all(
        made(one) == made(other)
        for made in (
            lambda record: record["configuration"],
            lambda record: record["upstream"]["benchmark_splits"]["data_version"],
            lambda record: record["settings"].get("benchmarks"),  # hashes of their files
        )
    )
