"""Who asked the web servers to change something, and what was refused: lines of JSON in private files.

A line never holds what a request carried beyond names: no row, no configuration, no token.
"""

import errno
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

CHANGES = Path("ui") / "audit.jsonl"
"""Where starts, sign-ins and changes stand in the data folder. Nothing is ever removed from it."""
REFUSALS = Path("ui") / "refused.jsonl"
"""Where refusals stand; older ones are in `refused.jsonl.1`, and those before that are gone."""
_LARGEST = 16 * 1024 * 1024
_REFUSALS_PER_MINUTE = 60


@dataclass
class AuditLog:
    """The two files in the data folder `data`. Of refusals, at most 60 a minute are written out and the others counted,
    so that nobody can fill a disk, or hide what was changed, by being refused."""

    data: Path
    minute: int = 0
    refusals: int = 0

    def write(self, line: Mapping[str, Any]) -> None:
        """One line about a change or a start. Raises OSError where it cannot be written."""
        _append(self.data / CHANGES, line)

    def answered(self, line: Mapping[str, Any]) -> None:
        """One line about what a change came to; a note on standard error where it cannot be written."""
        try:
            self.write({"event": "answered", **line})
        except OSError as error:  # the change is made, and that it was asked for is written
            _complain(self.data / CHANGES, error)

    def refused(self, line: Mapping[str, Any]) -> None:
        """One line about a refusal, or one more in the count of this minute."""
        minute = int(time.monotonic() // 60)
        if minute != self.minute:
            more = self.refusals - _REFUSALS_PER_MINUTE
            self.minute, self.refusals = minute, 0
            if more > 0:
                self._refused({"more": more})
        self.refusals += 1
        if self.refusals <= _REFUSALS_PER_MINUTE:
            self._refused(line)

    def _refused(self, line: Mapping[str, Any]) -> None:
        path = self.data / REFUSALS
        try:
            if _append(path, {"event": "refused", **line}) > _LARGEST:
                os.replace(path, path.with_name(f"{path.name}.1"))
        except OSError as error:  # what is refused stays refused, whether or not that can be written down
            _complain(path, error)


def _complain(path: Path, error: OSError) -> None:
    sys.stderr.write(f"sultana: {path} cannot be written: {error.strerror}\n")


def _append(path: Path, line: Mapping[str, Any]) -> int:
    """Adds a line to a private file; its size then."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    data = orjson.dumps({"time": now, "server": os.getpid(), **line}) + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(handle, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return os.fstat(handle).st_size
    finally:
        os.close(handle)
