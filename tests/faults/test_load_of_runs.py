"""L1: many queued runs, several at once, while people look at the UI; and a thousand partitions."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.instance import open_instance
from resources.definitions import Storage
from tests.faults.counts import count, tell
from tests.faults.launched import PROJECT, wait_for

RUNS, AT_ONCE = count("SULTANA_LOAD_RUNS", 24), 4
SLOWEST_SECONDS = 0.5
LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
PAGES = (
    "{ runsOrError(limit: 25) { ... on Runs { results { id status startTime tags { key value } } } } }",
    "{ assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 5) { runId } } } } }",
    "{ instance { concurrencyLimits { concurrencyKey activeSlotCount } "
    "daemonHealth { allDaemonStatuses { healthy } } } }",
)


def ask(address: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    assert "errors" not in found, found
    data: dict[str, Any] = found["data"]
    return data


def timed(address: str, page: str) -> float:
    """The seconds that an answer took."""
    began = time.monotonic()
    ask(address, page)
    return time.monotonic() - began


@contextmanager
def servers(data: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server beside a daemon, and what both say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data / "servers.log"
    command = ["-m", "dagster", "dev", "-m", "tests.faults.small_definitions", "-d", str(PROJECT)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"],
            cwd=PROJECT,
            env={**os.environ, "SULTANA_DATA": str(data), "DAGSTER_HOME": str(data / "dagster")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # The interrupt that ends it reaches it also where these tests run in the background of a shell.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    try:
        ask(address, "{ version }")
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_many_queued_runs_while_people_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    with open_instance(tmp_path):
        settings = tmp_path / "dagster" / "dagster.yaml"
        text = settings.read_text()
        assert "max_concurrent_runs: 2" in text
        settings.write_text(text.replace("max_concurrent_runs: 2", f"max_concurrent_runs: {AT_ONCE}"))
    with open_instance(tmp_path) as instance, servers(tmp_path) as (address, log):
        wait_for("the UI", lambda: answers(address))
        selector = {
            "repositoryLocationName": "tests.faults.small_definitions",
            "repositoryName": "__repository__",
            "jobName": "count",
        }
        for _ in range(RUNS):
            told = ask(
                address, LAUNCH, parameters={"selector": selector, "runConfigData": {}, "mode": "default"}
            )
            assert told["launchRun"]["__typename"] == "LaunchRunSuccess", told
        took: list[float] = []
        at_once = 0
        end = time.monotonic() + 900
        while unfinished := [run for run in instance.get_runs() if not run.is_finished]:
            assert time.monotonic() < end, Counter(run.status.value for run in unfinished)
            at_once = max(at_once, sum(run.status is dg.DagsterRunStatus.STARTED for run in unfinished))
            took += [timed(address, page) for page in PAGES]
            time.sleep(0.5)
        assert Counter(run.status.value for run in instance.get_runs()) == {"SUCCESS": RUNS}
        assert at_once <= AT_ONCE
        logged = log.read_text() + "".join(
            str(one.user_message) for run in instance.get_runs() for one in instance.all_logs(run.run_id)
        )
        assert "database is locked" not in logged
    table = Storage().tables()
    assert table.commits.head("ticks").rows == RUNS  # type: ignore[union-attr]
    p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    tell(
        f"{RUNS} runs, {at_once} at once: UI queries {len(took)}, p50 {p50:.3f} s, p95 {p95:.3f} s, "
        f"longest {max(took):.3f} s"
    )
    assert p95 < SLOWEST_SECONDS
