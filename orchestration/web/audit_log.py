"""Who asked the web servers to change something, and what was refused: lines of JSON in a private file.

A line never holds what a request carried beyond names: no row, no configuration, no token.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

LOG = Path("ui") / "audit.jsonl"
"""Where it lies in the data folder; older lines are beside it, in `audit.jsonl.1`."""
_LARGEST = 16 * 1024 * 1024
_REFUSALS_PER_MINUTE = 60


@dataclass
class AuditLog:
    """Appends to `path`. Of refusals, at most 60 a minute are written out and the others counted, so that nobody can
    fill a disk, or push what was changed out of the log, by being refused."""

    path: Path
    minute: int = 0
    refusals: int = 0

    def write(self, line: Mapping[str, Any]) -> None:
        """One line. Raises OSError where it cannot be written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = orjson.dumps({"time": now, "server": os.getpid(), **line}) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(
            self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(handle, data)
            full = os.fstat(handle).st_size > _LARGEST
        finally:
            os.close(handle)
        if full:
            os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))

    def refused(self, line: Mapping[str, Any]) -> None:
        """One line about a refusal, or one more in the count of this minute."""
        minute = int(time.monotonic() // 60)
        if minute != self.minute:
            if self.refusals > _REFUSALS_PER_MINUTE:
                self.write({"event": "refused", "more": self.refusals - _REFUSALS_PER_MINUTE})
            self.minute, self.refusals = minute, 0
        self.refusals += 1
        if self.refusals <= _REFUSALS_PER_MINUTE:
            self.write({"event": "refused", **line})
