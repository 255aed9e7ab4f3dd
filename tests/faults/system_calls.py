"""A process that is killed at one chosen system call of a piece of work, by strace."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.faults import warm

MUTATING = (
    "write,writev,pwrite64,pwritev,ftruncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,syncfs,mkdir,mkdirat,"
    "rename,renameat,renameat2,link,linkat,symlink,unlink,unlinkat,rmdir,chmod,fchmod"
)
"""What changes files. The state after a file was opened is that before the first write to it."""

_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>[a-z0-9_]+)\(")


def needs_strace() -> None:
    """Skip the test where no process can be traced."""
    tried = shutil.which("strace") and subprocess.run(
        ["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False
    )
    if not tried or tried.returncode != 0:
        pytest.skip("kills at system calls need strace, and the right to trace a process")


def _when_told(go: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    go.recv()
    function(*arguments)


def traced(options: list[str], function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether `function` came to its end in a process that strace follows with these options, and was not killed."""
    its, mine = warm.CONTEXT.Pipe(duplex=False)
    process = warm.CONTEXT.Process(target=_when_told, args=(its, function, arguments))
    process.start()
    its.close()
    command = ["strace", "-f", "-p", str(process.pid), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        for line in tracer.stderr:
            if "attached" in line:
                break
        else:
            raise AssertionError(f"strace could not follow the process: {tracer.wait()}")
        mine.send("go")
        process.join(warm.PATIENCE)
        if process.exitcode is None:
            raise AssertionError("the work hangs")
    finally:
        process.kill()
        process.join()
        tracer.kill()
        tracer.communicate()
        mine.close()
    if process.exitcode not in (0, -9):
        raise AssertionError(f"the work failed with exit code {process.exitcode}")
    return process.exitcode == 0


def calls_of(log: Path, function: Callable[..., Any], *arguments: Any) -> list[tuple[str, int]]:
    """Every mutating system call of the work: its name, and which of that name it is in its thread."""
    assert traced(["-e", f"trace={MUTATING}", "-o", str(log)], function, *arguments)
    counts: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines():
        if found := _CALL.match(line):
            counts[found["thread"], found["name"]] += 1
    longest: Counter[str] = Counter()
    for (_, name), number in counts.items():
        longest[name] = max(longest[name], number)
    return [(name, ordinal) for name, number in sorted(longest.items()) for ordinal in range(1, number + 1)]


def killed_at(call: tuple[str, int], function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether the work was killed as it began this system call; threads may make fewer of one name than before."""
    name, ordinal = call
    options = ["-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={ordinal}", "-o", os.devnull]
    return not traced(options, function, *arguments)


def failing_at(call: tuple[str, int], function: Callable[..., Any], *arguments: Any) -> None:
    """Let this system call of the work answer that the disk failed. AssertionError where the work does not end."""
    name, ordinal = call
    options = ["-e", f"trace={name}", "-e", f"inject={name}:error=EIO:when={ordinal}", "-o", os.devnull]
    assert traced(options, function, *arguments), f"the work died, and {call} only failed"
