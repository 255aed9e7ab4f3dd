"""What a read-only check of a store reports, and what would mend it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Repair:
    """What mends a damage and touches nothing that was acknowledged.

    `told` says what it does, in the imperative. `mend` does it and may be called again; it looks again, under the
    locks that it needs, and raises SultanaError where it cannot. `quiet`: only while no run is in progress.
    """

    told: str
    mend: Callable[[], None]
    quiet: bool = True


@dataclass(frozen=True)
class Finding:
    """Something wrong in a store: which table (or model), what, the remedy, and a slug that names the kind of damage.

    A warning hinders nobody. Without a `repair` only a person can mend it.
    """

    table: str
    problem: str
    remedy: str
    code: str = ""
    level: Literal["problem", "warning"] = "problem"
    repair: Repair | None = None
