"""What an examination of this machine finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and how to mend it. A warning hinders only what not everybody does."""

    problem: str
    remedy: str
    level: Literal["problem", "warning"] = "problem"


@dataclass(frozen=True)
class Examined:
    """What is examined: the data folder and the port of the UI."""

    folder: Path
    port: int


def mebibytes(size: float) -> str:
    """A size in bytes, for people."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
