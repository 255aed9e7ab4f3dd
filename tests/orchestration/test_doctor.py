"""`sultana doctor` on real faults: what it says of each, and that each remedy names what to do."""

import fcntl
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.dead_runs import PROCESS_TAG
from orchestration.diagnosis import installation, machine
from orchestration.diagnosis.finding import Examined, Finding
from orchestration.diagnosis.installation import check_packages, check_python
from orchestration.diagnosis.leftovers import check_locks, check_runs, check_staging
from orchestration.diagnosis.machine import check_disk, check_memory, check_port
from orchestration.diagnosis.stores import check_instance, check_models
from orchestration.instance import open_instance
from resources import language_model
from resources.files import exclusive_lock
from resources.memory import available_bytes
from resources.ports import is_free

LONG_AGO = time.time() - 7 * 86_400


def examined(folder: Path, port: int = 4300) -> Examined:
    return Examined(folder, port)


def one(found: Iterator[Finding]) -> Finding:
    (only,) = list(found)
    assert only.problem and only.remedy
    return only


def free_port() -> int:
    return next(port for port in range(4301, 4400) if is_free(port))


def test_all_is_well_here(data: Path) -> None:
    found = CliRunner().invoke(app, ["doctor", "--port", str(free_port()), "--json"])
    document = json.loads(found.stdout)
    assert found.exit_code == 0 and document["problems"] == 0, document
    assert len(document["checks"]) == 16
    told = CliRunner().invoke(app, ["doctor", "--port", str(free_port())])
    assert told.stdout.count("✓") + told.stdout.count("!") == 16 and "Problems: 0" in told.stdout


def test_of_a_fresh_folder_the_models_are_hashed_and_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(check_models(examined(tmp_path))) == []
    assert not list((tmp_path / "models").glob("*")), "the doctor converted a model"
    monkeypatch.setattr(language_model, "LANGUAGE_MODEL", "0" * 64)
    assert one(check_models(examined(tmp_path))).code == "embedded-model-changed"


def test_a_converted_model_is_held_against_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "models" / f"{language_model.EMBEDDED_NAME}-{language_model.LANGUAGE_MODEL[:16]}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert one(check_models(examined(tmp_path))).code == "model-files-changed"


def test_a_broken_instance_is_a_problem_and_ends_with_1(data: Path) -> None:
    (data / "dagster").mkdir()
    (data / "dagster" / "dagster.yaml").write_text("storage: [")
    assert "does not open" in one(check_instance(examined(data))).problem
    found = CliRunner().invoke(app, ["doctor", "--port", str(free_port()), "--json"])
    document = json.loads(found.stdout)
    assert found.exit_code == 1 and document["problems"] == 1
    (skipped,) = [check for check in document["checks"] if not check["examined"]]
    assert skipped["name"] == "runs and pools"


def project(folder: Path, python: str, *packages: str) -> Path:
    (folder / "pyproject.toml").write_text(
        f'[project]\nrequires-python = "{python}"\ndependencies = {json.dumps(packages)}\n'
    )
    return folder


def test_packages_against_the_ranges_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(
        tmp_path, "<3.2", "orjson>=1", "dagster<1.0", "no-such-package>=2", "absent; python_version < '3'"
    )
    monkeypatch.setattr(installation, "PROJECT", folder)
    told = [finding.problem for finding in check_packages(examined(tmp_path))]
    assert len(told) == 2
    assert "dagster is 1." in told[0] and "needs <1.0" in told[0]
    assert "no-such-package is not installed" in told[1]
    assert "needs <3.2" in one(check_python(examined(tmp_path))).problem


def test_too_little_disk_or_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(check_disk(examined(tmp_path / "new"))) and (tmp_path / "new").is_dir()
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 2**60)
    assert "SULTANA_DATA" in one(check_disk(examined(tmp_path))).remedy
    available = available_bytes()
    assert available is not None and available > 2**20
    monkeypatch.setattr(machine, "LEAST_MEMORY_BYTES", 2**60)
    assert one(check_memory(examined(tmp_path))).level == "warning"


class Answers(http.server.BaseHTTPRequestHandler):
    body: bytes = b"{}"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(body: bytes) -> Iterator[int]:
    port = free_port()
    server = http.server.HTTPServer(("127.0.0.1", port), type("Handler", (Answers,), {"body": body}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def test_the_port_of_the_ui(tmp_path: Path) -> None:
    assert not list(check_port(examined(tmp_path, free_port())))
    with serving(b'{"dagster_webserver_version": "1.13.27"}') as port:
        assert not list(check_port(examined(tmp_path, port)))
    for body in (b"hello", b"[]", b"{}"):
        with serving(body) as port:
            assert f"--port {port + 1}" in one(check_port(examined(tmp_path, port))).remedy
    with socket.socket() as silent:
        port = 4399  # one that no server of this test has just left
        silent.bind(("127.0.0.1", port))
        assert "taken" in one(check_port(examined(tmp_path, port))).problem
        found = CliRunner().invoke(app, ["ui", "--port", str(port)])
        assert found.exit_code == 1 and f"Port {port} is taken" in found.stderr


def test_a_lock_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "lance" / ".locks" / "instructions.lock"
    with exclusive_lock(path):
        assert not list(check_locks(examined(tmp_path)))  # held for a moment only
        os.utime(path, (LONG_AGO, LONG_AGO))
        told = one(check_locks(examined(tmp_path)))
        assert f"process {os.getpid()}" in told.problem and f"ps -p {os.getpid()}" in told.remedy
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert not list(check_locks(examined(tmp_path)))
    with open(path) as file:  # looking has not taken it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_killed_commands_left(tmp_path: Path) -> None:
    left = tmp_path / "tmp" / "export-abc"
    left.mkdir(parents=True)
    (left / "model").write_bytes(b"x" * 2**20)
    (tmp_path / "tmp" / "benchmarks").mkdir()
    (tmp_path / "lance").mkdir()
    (tmp_path / "lance" / ".commits.sqlite.lock").touch()
    assert not list(check_staging(examined(tmp_path)))  # it may be at work
    for path in tmp_path.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    told = one(check_staging(examined(tmp_path)))
    assert "1 files or folders" in told.problem and "1.0 MiB" in told.problem
    assert told.remedy == f"Remove them while no command runs: rm -r {left}" and told.level == "warning"


def test_runs_and_places_in_pools_of_processes_that_are_gone(data: Path) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def work() -> None:
        nothing()

    assert not list(check_runs(examined(data)))
    with open_instance(data) as instance:
        run = instance.create_run_for_job(
            work, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "another-boot:1:1"}
        )
        done = instance.create_run_for_job(work, status=dg.DagsterRunStatus.SUCCESS)
        instance.event_log_storage.set_concurrency_slots("device", 1)
        claimed = instance.event_log_storage.claim_concurrency_slot("device", done.run_id, "nothing")
        assert claimed.is_claimed
    killed, held = check_runs(examined(data))
    assert run.run_id in killed.problem and "marked as failed" in killed.remedy
    assert done.run_id in held.problem and "'device'" in held.problem
    with open_instance(data) as instance:
        assert (
            instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED
        )  # nothing was repaired
