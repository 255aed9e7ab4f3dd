"""What an examination of this machine finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resources.findings import Repair


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and how to mend it. A warning hinders only what not everybody does.

    `code` is a slug that names the kind of damage; with a `repair` the doctor itself can mend it.
    """

    problem: str
    remedy: str
    level: Literal["problem", "warning"] = "problem"
    code: str = ""
    repair: Repair | None = None


@dataclass(frozen=True)
class Examined:
    """What is examined: the data folder and the port of the UI. `run_id` is that of the run that asks, or empty."""

    folder: Path
    port: int
    run_id: str = ""


def mebibytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
