"""The processes behind the UI: one that dies is started again, one that cannot live is told, none is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestration.web import processes
from orchestration.web.processes import Service, keep_running
from resources.errors import SultanaError

SLEEPER = (
    "import pathlib, os, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
)
KEEPER = """
import sys
from orchestration.web.processes import Service, keep_running
keep_running([Service("sleeper", [sys.executable, "-c", sys.argv[1], sys.argv[2]])], print)
"""


def _until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _pid(file: Path) -> int:
    _until(lambda: file.exists() and bool(file.read_text()))
    return int(file.read_text())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_outlives_the_one_that_keeps_it(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / "pid"
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, SLEEPER, str(file)], cwd=Path(__file__).parents[2]
    )
    kept = _pid(file)
    keeper.send_signal(how)
    assert keeper.wait(60) == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    _until(lambda: not psutil.pid_exists(kept) or psutil.Process(kept).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_what_died_is_started_again_and_said(tmp_path: Path) -> None:
    file, said = tmp_path / "pid", []
    first = 0

    def warn(line: str) -> None:
        said.append(line)
        file.unlink()

    service = Service("sleeper", [sys.executable, "-c", SLEEPER, str(file)])
    service.start()
    first = _pid(file)
    os.kill(first, signal.SIGKILL)
    _until(lambda: service.process is not None and service.process.poll() is not None)
    service.look(warn)
    assert said == ["The sleeper ended with status -9; it is started again in 1 s"]
    _until(lambda: service.look(warn) is None and service.process is not None)
    assert _pid(file) != first
    service.ask_to_stop()
    service.wait(time.monotonic() + 30)


def test_what_cannot_live_ends_all_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(processes, "_PAUSE_SECONDS", 0.01)
    file, said = tmp_path / "pid", []
    other = Service("sleeper", [sys.executable, "-c", SLEEPER, str(file)])
    fault = Service("faulty one", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(
        SultanaError, match="The faulty one ended 5 times within 5 minutes.*status 3"
    ) as ended:
        keep_running([other, fault], said.append)
    assert ended.value.code == "ui-process-died" and len(said) == 4
    assert other.process is not None and other.process.poll() is not None


@pytest.mark.slow
def test_what_waits_for_a_file_is_not_started_before(tmp_path: Path) -> None:
    file, socket = tmp_path / "pid", tmp_path / "socket"
    service = Service("sleeper", [sys.executable, "-c", SLEEPER, str(file)], after=socket)
    service.look(print)
    assert service.process is None
    socket.touch()
    service.look(print)
    assert service.process is not None
    _pid(file)
    service.ask_to_stop()
    service.wait(time.monotonic() + 30)
