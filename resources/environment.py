"""The process: environment variables that are safe by default, and steps that end with their parent."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

from resources.memory import limit_arenas
from resources.text import escape_terminal

FORCED = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""Loading a model must never run code that came with it. Nothing here reads a pickle, so nobody can need another value:
one that the environment brings, for another program, is overruled and told of."""

UNSET = ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",)
"""What would undo the above; a value of false says nothing and is taken out in silence."""

SAFE_DEFAULTS = {
    # No network unless the user asks for it.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # MLflow's job runner starts a dozen processes; the tokenizers warn in every forked worker.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait spin by default, at the cost of whatever else runs on these cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SAME = {"1": ("1", "true", "y", "yes"), "false": ("", "0", "false", "n", "no")}
_PR_SET_PDEATHSIG = 1


def apply_safe_defaults() -> None:
    """Force what no environment may undo, set what the user has not set, and make new files private (umask 077).

    Call it before torch, transformers or MLflow are imported: they read some of it on import.
    """
    for name, value in FORCED.items():
        given = os.environ.get(name, value)
        if given.lower() not in _SAME[value]:
            _tell_overruled(name, given)
        os.environ[name] = value
    for name in UNSET:
        if (given := os.environ.pop(name, "0")).lower() not in _SAME["false"]:
            _tell_overruled(name, given)
    for name, value in SAFE_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.umask(0o077)
    if "MALLOC_ARENA_MAX" not in os.environ:
        limit_arenas()


def _tell_overruled(name: str, given: str) -> None:
    sys.stderr.write(
        f"sultana: {name}={escape_terminal(given, 20)} of the environment is overruled: no pickle is ever read\n"
    )


def _is_code_server(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile
        return False
    return any(
        first == b"api" and second == b"grpc" for first, second in zip(arguments, arguments[1:], strict=False)
    )


def die_with_parent() -> None:
    """In a step process of Dagster: let the system kill it when the run's process dies.

    Otherwise a step outlives its killed run, and writes beside the run that retries it. Nothing
    happens off Linux, outside a process started by `multiprocessing`, and below a code server (whose
    children are the runs themselves, which must survive it).
    """
    parent = multiprocessing.parent_process()
    if not sys.platform.startswith("linux") or parent is None or parent.pid is None:
        return
    if _is_code_server(parent.pid):
        return
    if parent.pid != os.getppid():
        # Under a fork server the kernel's parent is that server, which this very process keeps alive.
        threading.Thread(target=_follow, args=(parent,), name="die-with-parent", daemon=True).start()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl(PR_SET_PDEATHSIG)")
    if not parent.is_alive():  # it died before the request was made, so no signal will come
        os.kill(os.getpid(), signal.SIGKILL)


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
