"""Processes that are ready at once: forked from one that has imported everything and opened nothing."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

# A fork while Arrow's allocator has a thread of its own can leave the new process waiting for ever.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.preloaded"])
PATIENCE = 120.0
"""Longest that anything here may take, in seconds."""


def _answer(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with open(_stack_file(os.getpid()), "w") as stacks:
        faulthandler.register(signal.SIGUSR1, stacks, all_threads=True)
        try:
            connection.send(("value", function(*arguments)))
        except BaseException:  # noqa: BLE001 - raised again in the parent
            connection.send(("error", traceback.format_exc()))
        faulthandler.unregister(signal.SIGUSR1)
    connection.close()


def _stack_file(process: int | None) -> str:
    return os.path.join(tempfile.gettempdir(), f"sultana-stacks-{process}")


def _stacks(process: ForkServerProcess) -> str:
    """Where the threads of a process are, in words; empty where it does not say."""
    if not os.path.exists(_stack_file(process.pid)):
        return ""  # it has not begun
    os.kill(process.pid, signal.SIGUSR1)  # type: ignore[arg-type]
    time.sleep(1.0)
    with open(_stack_file(process.pid), errors="replace") as file:
        return file.read()


def start(function: Callable[..., Any], *arguments: Any) -> tuple[ForkServerProcess, Connection]:
    """A process that calls `function`, and the connection that says what it returned or raised."""
    mine, its = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(its, function, arguments))
    process.start()
    its.close()
    return process, mine


def result(process: ForkServerProcess, connection: Connection, seconds: float = PATIENCE) -> Any:
    """What the function returned. Raises AssertionError with the traceback where it raised, died or hangs."""
    try:
        if not connection.poll(seconds):
            raise AssertionError(f"no answer within {seconds:g} s; its threads are at\n{_stacks(process)}")
        kind, value = connection.recv()
    except EOFError:
        process.join(PATIENCE)
        raise AssertionError(f"the process died, exit code {process.exitcode}") from None
    finally:
        if process.is_alive() and not connection.closed:
            process.join(0.5)
        process.kill()
        process.join()
        connection.close()
        with contextlib.suppress(FileNotFoundError):
            os.remove(_stack_file(process.pid))
    if kind == "error":
        raise AssertionError(value)
    return value


def call(function: Callable[..., Any], *arguments: Any, seconds: float = PATIENCE) -> Any:
    """What `function` returns, called in a process of its own."""
    return result(*start(function, *arguments), seconds)


def _announced(ready: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        function(ready.send, *arguments)
        ready.send("ended")
    except BaseException:  # noqa: BLE001 - told to the parent, which fails the test
        ready.send(traceback.format_exc())


def kill_after(delay: float, function: Callable[..., Any], *arguments: Any) -> str:
    """Call `function(say, *arguments)` in a process, and kill it `delay` seconds after it has said "ready".

    "killed", or "ended" where it was done before. Raises AssertionError where it raised something.
    """
    mine, its = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_announced, args=(its, function, arguments))
    process.start()
    its.close()
    try:
        said = _said(mine, PATIENCE)
        if said == "ready":
            due = time.monotonic() + delay
            said = _said(mine, max(0.0, due - time.monotonic()))
            if said == "":
                os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
                said = _said(mine, 5.0) or "killed"
    finally:
        process.kill()
        process.join()
        mine.close()
    if said not in ("killed", "ended"):
        raise AssertionError(said or f"not ready within {PATIENCE:g} s")
    return said


def _said(connection: Connection, seconds: float) -> str:
    """The next message; "killed" where the process is gone, empty where it says nothing for so long."""
    try:
        return str(connection.recv()) if connection.poll(seconds) else ""
    except EOFError:
        return "killed"
