"""`sultana ui` as a whole: parts that are killed come back, and at its end nothing goes on."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from orchestration.instance import open_instance
from tests.orchestration.servers import sultana_ui

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 400
LOCATIONS = (
    "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
)


def _ask(address: str, query: str, variables: dict[str, Any] | None = None) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def _loads(address: str) -> bool:
    try:
        found = _ask(address, LOCATIONS)["workspaceOrError"]["locationEntries"]
    except (OSError, urllib.error.URLError):
        return False
    return [one["locationOrLoadError"]["__typename"] for one in found] == ["RepositoryLocation"]


def _wait_for(what: str, holds: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}\n{log.read_text()[-3000:]}"
        time.sleep(0.5)


def _below(ui: int) -> list[tuple[int, list[str]]]:
    """Process ids and command lines of everything below the UI that has not ended."""
    found = []
    for one in psutil.Process(ui).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            found.append((one.pid, one.cmdline()))
    return found


def _part(ui: int, *words: str) -> int:
    """The process id of a part of the UI, by words of its command line; 0 where there is none."""
    return next((pid for pid, line in _below(ui) if set(words) <= set(line)), 0)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, Path]]:
    data = tmp_path_factory.mktemp("ui") / "data"
    data.mkdir()
    with sultana_ui(data) as (address, process):
        _wait_for("the definitions", lambda: _loads(address), data / "ui.log")
        yield address, process, data


def test_other_users_of_the_machine_cannot_reach_the_code_servers(
    ui: tuple[str, subprocess.Popen[bytes], Path],
) -> None:
    _, process, _ = ui
    sockets = {
        Path(one.laddr)
        for part in psutil.Process(process.pid).children(recursive=True)
        for one in part.net_connections(kind="unix")
        if str(one.laddr).startswith("/")
    }
    assert len(sockets) >= 2
    # Dagster's own lies open in the folder for temporary files.
    assert [path for path in sockets if path.exists() and path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("part", [("dagster._daemon",), ("code-server",), ("orchestration.web.serve",)])
def test_a_part_that_is_killed_comes_back(
    ui: tuple[str, subprocess.Popen[bytes], Path], part: tuple[str, ...]
) -> None:
    address, process, data = ui
    killed = _part(process.pid, *part)
    os.kill(killed, signal.SIGKILL)
    _wait_for("its successor", lambda: _part(process.pid, *part) not in (0, killed), data / "ui.log")
    _wait_for("the definitions", lambda: _loads(address), data / "ui.log")
    assert "ended with status -9; it is started again" in (data / "ui.log").read_text()


def test_a_run_ends_with_the_ui_and_says_so(ui: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    address, process, data = ui
    selector = {
        "repositoryLocationName": "sultana",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["raw_instructions"]}],
        "assetCheckSelection": [],
    }
    config = {"ops": {"raw_instructions": {"config": {"starter": {"rows": 20_000}}}}}
    given = {"selector": selector, "mode": "default", "runConfigData": json.dumps(config)}
    query = """mutation($given: ExecutionParams!) { launchRun(executionParams: $given)
        { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
        ... on RunConfigValidationInvalid { errors { message } } } }"""
    launched = _ask(address, query, {"given": given})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    status = f'{{ runOrError(runId: "{run_id}") {{ ... on Run {{ status }} }} }}'
    _wait_for("the run", lambda: _ask(address, status)["runOrError"]["status"] == "STARTED", data / "ui.log")
    _wait_for("a step", lambda: _steps(process.pid) > 0, data / "ui.log")
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    time.sleep(2)
    assert [one.cmdline() for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    with pytest.MonkeyPatch.context() as patch, open_instance(data) as instance:
        patch.setenv("DAGSTER_HOME", str(data / "dagster"))
        run = instance.get_run_by_id(run_id)
    assert run is not None and run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def _steps(ui: int) -> int:
    return sum("spawn_main" in " ".join(line) for _, line in _below(ui))
