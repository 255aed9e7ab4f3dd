"""The guarded web servers, started as `sultana ui` starts them, on data folders of their own."""

import hashlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestration.instance import open_instance
from resources.definitions import ModelRegistry, Storage
from tests.web import small
from tests.web.raw import send

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 300


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Served:
    """A guarded server: its port, data folder, what it said, and a run that exists (for Dagster)."""

    port: int
    data: Path
    said: Path
    run: str = ""

    def state(self) -> str:
        """A digest of everything stored: of each row of each database, and of each file of a model."""
        found = hashlib.sha256()
        for path in sorted((self.data / "dagster").rglob("*.db")) + sorted(
            (self.data / "mlflow").glob("*.db")
        ):
            with closing(sqlite3.connect(path)) as connection:
                for line in connection.iterdump():
                    found.update(line.encode())
        for path in sorted((self.data / "mlflow" / "artifacts").rglob("*")):
            found.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
        return found.hexdigest()


@contextmanager
def served(data: Path, server: str, *options: str, run: str = "", **environment: str) -> Iterator[Served]:
    """A guarded server until the end of the block; it answers already."""
    port, said = free_port(), data.parent / f"{server}.log"
    command = ["orchestration.web.serve", server, "--port", str(port), *options]
    with _started(command, port, said, {"SULTANA_DATA": str(data), **environment}):
        yield Served(port, data, said, run)


@contextmanager
def unguarded(folder: Path) -> Iterator[Served]:
    """Dagster's own web server, without a guard, with the small definitions."""
    data, run, options = small_deployment(folder)
    port, said = free_port(), folder / "unguarded.log"
    command = ["dagster_webserver", "-w", options[1], "-h", "127.0.0.1", "-p", str(port)]
    with _started(command, port, said, {"DAGSTER_HOME": str(data / "dagster")}):
        yield Served(port, data, said, run)


@contextmanager
def _started(module: list[str], port: int, said: Path, environment: dict[str, str]) -> Iterator[None]:
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, said.read_text()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5):
                    break
            except OSError:
                assert time.monotonic() < end, said.read_text()
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def small_deployment(folder: Path) -> tuple[Path, str, list[str]]:
    """A data folder with one run of the small definitions; the run's id, and the options to serve them."""
    data = folder / "data"
    run = run_of_the_small(data)
    workspace = folder / "workspace.yaml"
    target = {"relative_path": str(Path(small.__file__)), "location_name": "small"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": target}]}))
    return data, run, ["--workspace", str(workspace)]


def run_of_the_small(data: Path) -> str:
    """The id of a run of the small definitions, made now."""
    with pytest.MonkeyPatch.context() as patch, open_instance(data) as instance:
        patch.setenv("DAGSTER_HOME", str(data / "dagster"))
        return dg.materialize([small.first], instance=instance).run_id


@pytest.fixture(scope="session")
def dagster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Dagster's web server with the small definitions."""
    data, run, options = small_deployment(tmp_path_factory.mktemp("dagster"))
    with served(data, "dagster", *options, run=run) as one:
        yield one


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """MLflow's web server with one run that has a file."""
    folder = tmp_path_factory.mktemp("mlflow")
    data = folder / "data"
    with ModelRegistry().open(Storage(folder=str(data))).client() as client:
        experiment = client.create_experiment("small", str(data / "mlflow" / "artifacts" / "1"))
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "rank", 8)
        client.log_text(run, "<script>alert(1)</script>", "page.html")
        client.create_registered_model("small")
    with served(data, "mlflow", run=run) as one:
        yield one


def ask(server: Served, data: bytes) -> int:
    """The status of the answer to raw bytes."""
    return send(server.port, data).status
