"""Refuses to read a pickle that names a class, in the tests' own process and in every process they start.

Python tells an audit hook of each class that a pickle asks for, whatever library reads it; a pickle that asks for
none holds plain values and can run nothing. One way is left open: what `multiprocessing` sends through a pipe that
it made itself, between a process and its child (the arguments of a process and the items of a queue: Dagster starts
steps so, and hears of their events; a pool of workers does the same). Nobody else holds an end of such a pipe, and
nothing of it is ever on disk.

Not watched: the processes of a Ray cluster (tests/compute starts them without this folder). Ray hands work to its
workers as pickles, and whoever reaches a cluster can run code on it, so a cluster is only for a network of one's own.
"""

import os
import sys
import sysconfig
from pathlib import Path
from types import FrameType

FOLDER = "SULTANA_TESTS_PICKLES"
"""The environment variable that names the folder where refusals are noted."""

_STANDARD = sysconfig.get_path("stdlib")
PIPES = frozenset(
    os.path.join(_STANDARD, "multiprocessing", name)
    for name in ("connection.py", "queues.py", "spawn.py", "forkserver.py", "reduction.py")
)
_PICKLE = os.path.join(_STANDARD, "pickle.py")
_noted = False


class PickleRead(RuntimeError):
    """A pickle was about to be read where none may be."""


def _reader() -> FrameType | None:
    """Who asked for the pickle to be read: the innermost frame that is not of the pickle module or this one."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename in (__file__, _PICKLE):
        frame = frame.f_back
    return frame


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event != "pickle.find_class":
        return
    reader = _reader()
    if reader is not None and reader.f_code.co_filename in PIPES:
        return
    global _noted
    where, frame = [], reader
    while frame is not None and len(where) < 30:
        where.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    text = f"a pickle that asks for {arguments[0]}.{arguments[1]} was read by\n" + "\n".join(where)
    if not _noted and (folder := os.environ.get(FOLDER)):
        _noted = True  # opening a file is an event too
        try:
            Path(folder, f"{os.getpid()}.txt").write_text(text, encoding="utf-8")
        finally:
            _noted = False
    raise PickleRead(text)


def install() -> None:
    """Watch this process; there is no way back."""
    sys.addaudithook(_hook)


def take_notes(folder: str) -> list[str]:
    """What was refused since the last time, in any process."""
    found = []
    for name in sorted(os.listdir(folder)):
        path = Path(folder, name)
        found.append(path.read_text(encoding="utf-8"))
        path.unlink()
    return found
