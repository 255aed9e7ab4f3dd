"""Runs generated programs in a sandbox, one process group each. Linux only.

Enforced, by the kernel: user, mount, network, process, IPC and host name namespaces of its own, so there is
no network (not even loopback), no sight of other processes and nothing of the disk but the interpreter, its
packages and the system's libraries, which are read-only; one folder to write, in memory, gone afterwards;
no capability, no way to gain one, and where Sultana runs as root another user; an environment with nothing
of ours in it; limits of CPU time, memory per process, file size, open files and processes; a limit of wall
time, after which the whole process group is killed, and with it everything the program started.

Not enforced: memory is limited per process, so all of a program's processes together may use `processes`
times as much. System calls are not filtered: a hole in the kernel is a hole in this sandbox. Files of the
interpreter and its packages can be read. Nothing keeps a program from lying about its own result: what is
contained is harm, not cheating. On a machine whose kernel forbids user namespaces programs are refused.
"""

import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from resources.errors import SultanaError

_SCRIPT = Path(__file__).with_name("sandboxed.py")
_VERDICT_BYTES = 4096
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/nix/store")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/sandbox", "TMPDIR": "/sandbox", "LC_ALL": "C.UTF-8"} | {
    # A library that starts a thread per core would run into the limit of processes.
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}


@dataclass(frozen=True)
class Limits:
    """What one program may use. Seconds and bytes."""

    cpu_seconds: int = 4
    wall_seconds: float = 20.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    folder_bytes: int = 4 << 20
    files: int = 32
    processes: int = 8


@dataclass(frozen=True)
class Outcome:
    """Whether a program ran to its end without an exception; where not, `reason` says what happened."""

    passed: bool
    reason: str


def run_program(program: str, limits: Limits | None = None) -> Outcome:
    """Run a Python program in the sandbox. Raises SultanaError where it cannot be contained."""
    limits = limits or Limits()
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="sandbox-") as root:
        reading, writing = os.pipe()
        settings = {
            **asdict(limits),
            "root": root,
            "readable": _readable(),
            "token": token,
            "verdict": writing,
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", str(_SCRIPT), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            _, errors = process.communicate(
                program.encode("utf-8", "surrogatepass"), timeout=limits.wall_seconds
            )
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            # Whatever happened above, nothing of the group lives on.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stderr):
                if stream is not None:
                    stream.close()
            os.set_blocking(reading, False)
            try:
                verdict = os.read(reading, _VERDICT_BYTES).decode("utf-8", "replace")
            except BlockingIOError:
                verdict = ""
            finally:
                os.close(reading)
    if not in_time:
        return Outcome(False, f"timed out: {limits.wall_seconds:g} s of wall time")
    if verdict == token:
        return Outcome(True, "passed")
    if verdict.startswith("failed: "):
        return Outcome(False, verdict)
    # The walls say with the token that they are not up: a program does not know it.
    missing = verdict.removeprefix(f"{token} ") if verdict.startswith(token) else ""
    if process.returncode in (0, 1) and not missing:
        return Outcome(False, "failed: it ended without reaching its end (exit, signal or a limit)")
    detail = missing or " ".join(errors.decode("utf-8", "replace").split()[-12:]) or "no message"
    raise SultanaError(
        f"Generated code cannot be contained on this machine ({detail})",
        "Leave code benchmarks out, or run where the kernel allows user namespaces "
        "(sysctl user.max_user_namespaces, and in a container its seccomp profile)",
        code="sandbox-unavailable",
    )


@functools.cache
def check_sandbox() -> None:
    """Raise SultanaError where programs cannot be contained here."""
    if sys.platform != "linux":
        raise SultanaError(
            f"Generated code is run on Linux only; this is {sys.platform}",
            "Leave code benchmarks out",
            code="sandbox-unavailable",
        )
    outcome = run_program("pass")
    if not outcome.passed:
        raise SultanaError(
            f"A program that does nothing does not pass in the sandbox ({outcome.reason})",
            "Leave code benchmarks out, or run on a machine that is not so busy",
            code="sandbox-unavailable",
        )


@functools.cache
def _readable() -> list[str]:
    """Folders that the interpreter and its packages are read from."""
    own = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(Path(sys.executable).resolve())}
    folders = [*_SYSTEM, *(str(Path(one)) for one in sorted(own))]
    kept: list[str] = []
    for one in folders:
        if Path(one).exists() and not any(Path(one).is_relative_to(other) for other in kept):
            kept.append(one)
    return kept
