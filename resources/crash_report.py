"""A report of a crash that its owner may give away: where the code was, and nothing that the code was working on.

It names the command and its options, versions, the platform, the types of the errors, and of each frame the file,
line and function. It leaves out on purpose: messages, arguments, values of options, local variables, the
environment, host and user, and every path outside the code, since any of them may spell out a row, a name or a secret.
"""

import contextlib
import json
import os
import platform
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = "crashes"
KEPT = 50
"""Reports that are kept; a sensor that crashes at each tick must not fill a disk."""

OUTSIDE = "<outside>"
PACKAGES = (
    "sultana",
    "accelerate",
    "dagster",
    "datasets",
    "lancedb",
    "mlflow",
    "numpy",
    "peft",
    "pyarrow",
    "pydantic",
    "pylance",
    "safetensors",
    "torch",
    "transformers",
)
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
_ROOMS = ("assets", "orchestration", "resources", "tests")


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first; of an error of Dagster's, what the step raised."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        user_exception = getattr(current, "user_exception", None)
        current = user_exception or current.__cause__ or current.__context__


def place(file: str) -> str:
    """A source file as seen from the project, the packages or the standard library; else `OUTSIDE`."""
    parts = PurePath(file).parts
    if "site-packages" in parts:
        at = len(parts) - parts[::-1].index("site-packages")
        return "/".join(parts[at - 1 :])
    with contextlib.suppress(ValueError):
        inside = PurePath(file).relative_to(PROJECT)
        if inside.parts and inside.parts[0] in _ROOMS:
            return inside.as_posix()
    with contextlib.suppress(ValueError):
        return "python/" + PurePath(file).relative_to(_STANDARD_LIBRARY).as_posix()
    return OUTSIDE


def frames(error: BaseException) -> list[dict[str, Any]]:
    """File, line and function of each frame of the error, outermost first; of foreign code only that it was there."""
    found: list[dict[str, Any]] = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = place(frame.f_code.co_filename)
        if file == OUTSIDE:
            found.append({"file": OUTSIDE})
        else:
            found.append({"file": file, "line": line, "function": frame.f_code.co_qualname})
    return found


def _error(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    told: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "frames": frames(error)}
    if isinstance(error, OSError) and error.errno is not None:
        told["errno"] = error.errno
    if isinstance(error, BaseExceptionGroup):
        told["errors"] = [[_error(one) for one in causes(each)] for each in error.exceptions]
    return told


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def report(error: BaseException, doing: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """What is told of a crash. `doing` names a command or a step; `options` are names without values."""
    return {
        "format": "sultana-crash-report/1",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "doing": doing,
        "options": list(options),
        "versions": _versions(),
        "platform": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "implementation": sys.implementation.name,
        },
        "errors": [_error(one) for one in causes(error)],
    }


def where(error: BaseException) -> str:
    """The type of an error and the innermost line of Sultana's own code that it passed, for a sentence."""
    own = [one for one in frames(error) if str(one["file"]).startswith(_ROOMS[:3])]
    at = f" at {own[-1]['file']}, line {own[-1]['line']}" if own else ""
    return f"{type(error).__name__}{at}"


def write_report(data: Path, told: dict[str, Any]) -> Path:
    """Stores a report in the data folder, for its owner's eyes, and drops the oldest beyond `KEPT`.

    Raises OSError where it cannot be written.
    """
    folder = data / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    file = folder / f"{stamp}-{uuid4().hex[:8]}.json"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(told, stream, indent=2)
        stream.write("\n")
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return file
