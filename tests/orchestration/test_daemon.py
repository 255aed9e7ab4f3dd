"""Dagster's own daemon on the real definitions: a source changes, the graph follows, a failure is told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from assets.materialized import materializations
from orchestration.instance import open_instance
from resources.alerts import WEBHOOK
from tests.orchestration.deployment import Deployment
from tests.orchestration.servers import http_server

PROJECT = Path(__file__).resolve().parents[2]
WORKSPACE = str(PROJECT / "workspace.yaml")
PATIENCE_SECONDS = 400


@contextmanager
def daemon(environment: dict[str, str], log: Path) -> Iterator[None]:
    """The daemon, with the source sensor switched on as the UI does it; it and its servers are gone afterwards."""
    switch = ["-m", "dagster", "sensor", "start", "sources_have_changed", "-w", WORKSPACE]
    subprocess.run([sys.executable, *switch], cwd=PROJECT, env=environment, check=True, capture_output=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", WORKSPACE],
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(what: str, holds: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}\n{log.read_text()[-4000:]}"
        time.sleep(1)


@pytest.mark.slow
def test_a_change_goes_through_the_graph_by_itself_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(tmp_path)
    deployment.folder.mkdir()
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    deployment.run(to="instructions", instructions={"near_duplicate_threshold": 0.9})
    log = tmp_path / "daemon.log"
    with open_instance(deployment.folder) as instance, http_server(lambda _: (200, b"")) as asked:

        def made(asset: str) -> int:
            return int(materializations(instance, asset)[0].storage_id)

        def runs(**filters: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
            found = instance.get_runs(dg.RunsFilter(statuses=list(filters.values()) or None))
            return [run for run in found if "sultana/started_by" not in run.tags]

        environment = {
            **os.environ,
            "SULTANA_DATA": str(deployment.folder),
            "DAGSTER_HOME": str(deployment.folder / "dagster"),
            WEBHOOK: f"{asked.address}/hook",
        }
        with daemon(environment, log):
            # The first looks of both sensors are behind them once the daemon has made ticks.
            wait_for("the first ticks", lambda: log.read_text().count("sources_have_changed") >= 2, log)
            before = made("instructions")
            deployment.change_rows()
            wait_for("the followers", lambda: made("instructions") > before, log)
            wait_for("the end of the runs", lambda: all(run.is_finished for run in runs()), log)
            newest = materializations(instance, "instructions")[0]
            assert newest.record["configuration"]["near_duplicate_threshold"] == 0.9
            assert deployment.stale() == set()
            assert len(runs()) == 2  # one for the sources, one for what follows them

            deployment.source.write_bytes(b"\x00 not rows\n")
            wait_for("the alert", lambda: bool(asked), log)
        assert len(runs()) == 3
    told = json.loads(asked[0]["body"])
    assert told["event"] == "run_failed" and told["assets"] == ["raw_instructions"]
