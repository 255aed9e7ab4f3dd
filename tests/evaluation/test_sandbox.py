"""Generated programs can do no harm, and count as failed where they try."""

import os
import time
from pathlib import Path

import pytest

from assets.evaluation.benchmarks.sandbox import Limits, check_sandbox, run_program
from resources.errors import SultanaError

SHORT = Limits(cpu_seconds=1, wall_seconds=10.0)


@pytest.fixture(autouse=True, scope="module")
def contained() -> None:
    try:
        check_sandbox()
    except SultanaError as error:
        pytest.skip(f"programs cannot be contained on this machine: {error}")


def test_a_program_passes_where_nothing_is_raised() -> None:
    assert run_program("def add(a, b):\n    return a + b\nassert add(2, 3) == 5").passed
    assert run_program("import numpy\nassert numpy.ones(3).sum() == 3").passed
    assert run_program("open('note', 'w').write('x')\nassert open('note').read() == 'x'").passed
    failed = run_program("assert 1 == 2, 'no'")
    assert not failed.passed and failed.reason == "failed: AssertionError: no"


def test_a_program_is_contained_where_new_files_are_private() -> None:
    """As they are wherever `sultana` runs."""
    before = os.umask(0o077)
    try:
        outcome = run_program("import numpy\nopen('note', 'w').write('x')")
    finally:
        os.umask(before)
    assert outcome.passed, outcome.reason


def test_a_wall_that_is_missing_is_no_failure_of_the_program() -> None:
    with pytest.raises(SultanaError, match="cannot be contained on this machine .*maximum limit"):
        run_program("pass", Limits(files=1 << 40))
    # What the program itself writes for a verdict counts as nothing.
    forged = run_program("import os\nos.write(3, b'not contained: x')\nos._exit(0)")
    assert not forged.passed


@pytest.mark.parametrize(
    "program",
    ["import os; os._exit(0)", "raise SystemExit", "exit(0)", "import os; os.abort()", "def ", "\ud800"],
    ids=["os._exit", "SystemExit", "exit", "abort", "syntax", "surrogate"],
)
def test_a_program_that_ends_early_has_not_passed(program: str) -> None:
    assert not run_program(program).passed


def test_time_is_limited() -> None:
    started = time.monotonic()
    assert not run_program("while True: pass", SHORT).passed
    waiting = run_program("import time; time.sleep(60)", Limits(wall_seconds=1.0))
    assert not waiting.passed and "wall time" in waiting.reason
    assert time.monotonic() - started < 20


def test_what_a_program_starts_ends_with_it(tmp_path: Path) -> None:
    # A daemon in a session of its own would outlive its parent; its namespace's end takes it along.
    mark = f"sandbox-mark-{os.getpid()}"
    program = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    open({mark!r}, "w")
    time.sleep(60)
time.sleep(0.2)
"""
    assert run_program(program).passed
    holders = [one for one in Path("/proc").glob("[0-9]*/fd/*") if one.is_symlink() and mark in _target(one)]
    assert holders == []


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_processes_are_limited() -> None:
    bomb = run_program("import os\nwhile True:\n    os.fork()", SHORT)
    assert not bomb.passed and "Resource temporarily unavailable" in bomb.reason


def test_memory_is_limited() -> None:
    small = Limits(cpu_seconds=4, memory_bytes=256 << 20)
    assert not run_program("found = bytearray(1 << 30)", small).passed
    assert run_program("found = bytearray(1 << 20)", small).passed


def test_files_are_limited() -> None:
    large = (
        "file = open('large', 'wb')\nfor _ in range(3):\n    file.write(b'x' * (1 << 20))\n    file.flush()"
    )
    assert not run_program(large).passed
    many = "files = [open(str(number), 'w') for number in range(100)]"
    assert not run_program(many).passed
    filled = "for number in range(9):\n    open(str(number), 'wb').write(b'x' * (1 << 20))"
    assert not run_program(filled, Limits(folder_bytes=4 << 20)).passed


def test_nothing_outside_can_be_written_or_read(tmp_path: Path) -> None:
    target = tmp_path / "target"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for place in (target, "/usr/target", "/target", "/dev/target", Path(os.__file__).parent / "target"):
        assert not run_program(f"open({str(place)!r}, 'w').write('x')").passed
    assert not target.exists()
    for hidden in (secret, "/etc/passwd", "/proc/self/environ", f"/proc/{os.getpid()}/environ"):
        assert not run_program(f"open({str(hidden)!r}).read()").passed


def test_there_is_no_network() -> None:
    remote = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"
    local = """
import socket
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
socket.create_connection(server.getsockname(), timeout=1)
"""
    for program in (remote, local):
        outcome = run_program(program)
        assert not outcome.passed and "unreachable" in outcome.reason


def test_nothing_of_our_environment_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_SECRET", "secret")
    outcome = run_program("import os\nassert 'secret' in ' '.join(os.environ.values())")
    assert not outcome.passed
    assert run_program("import os\nassert 'SULTANA_SECRET' not in os.environ").passed


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.setuid(0)\nassert os.getuid() == 0 and open('/usr/target', 'w')",
        "import os\nos.kill(-1, 9)",
        "import ctypes\nassert ctypes.CDLL(None).mount(b'', b'/usr', None, 32 | 4096, b'') == 0",
        "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10000000 | 0x20000) == 0\n"
        "assert libc.mount(b'', b'/usr', None, 32 | 4096, b'') == 0",
        "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))",
    ],
    ids=["become root", "kill all", "remount", "remount in a namespace", "raise a limit"],
)
def test_rights_cannot_be_gained(program: str) -> None:
    assert not run_program(program).passed
