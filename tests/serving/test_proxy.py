"""The reverse proxy, by a real nginx before the real servers: who is let in, to what, and which requests are not."""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.web.audit_log import REFUSALS
from orchestration.web.names import HOSTS
from tests.serving.conftest import PROJECT, Deployment
from tests.serving.postgres import SERVING, free_port

pytestmark = pytest.mark.slow
HOST = "sultana.test"
USER, AUDITOR = ("ada", "a word"), ("otto", "another word")
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
START_SECONDS = 600


@dataclass(frozen=True)
class Door:
    """The proxy's port, and the certificate that it shows."""

    port: int
    certificate: Path

    def ask(
        self,
        path: str,
        who: tuple[str, str] | None = None,
        query: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> tuple[int, str]:
        """Status and text of the answer; by POST where there is a GraphQL query."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=180)
        connection = http.client.HTTPConnection(HOST, timeout=180)
        connection.sock = context.wrap_socket(opened, server_hostname=HOST)  # its name is in no name server
        sent = {"Host": HOST, **headers}
        if who is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
        if query is not None:
            sent["Content-Type"] = "application/json"
        body = None if query is None else json.dumps({"query": query})
        connection.request("GET" if query is None else "POST", path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _start(stack: ExitStack, log: Path, command: list[str], settings: Mapping[str, str]) -> None:
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**os.environ, **settings},
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )

    def end() -> None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    stack.callback(end)


@pytest.fixture(scope="module")
def door(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Dagster, Dagster to be read only, and MLflow, started as the compose file does, behind its proxy."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or shutil.which("openssl") is None:
        pytest.skip("needs nginx and openssl: apt-get install nginx-light openssl")
    folder = tmp_path_factory.mktemp("proxy")
    ports = {name: free_port() for name in ("webserver", "auditor", "mlflow", "proxy")}
    serve = [sys.executable, "-m", "orchestration.web.serve"]
    auditor = ["--read-only", "--prefix", "/audit"]
    commands = {
        "webserver": [*serve, "dagster", "--port", str(ports["webserver"])],
        "auditor": [*serve, "dagster", "--port", str(ports["auditor"]), *auditor],
        "mlflow": [*serve, "mlflow", "--port", str(ports["mlflow"]), "--prefix", "/mlflow"],
    }
    names = ["-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}", "-days", "2"]
    names += ["-addext", f"subjectAltName=DNS:{HOST}"]
    _openssl("req", "-x509", *names, "-keyout", f"{folder}/key", "-out", f"{folder}/certificate")
    for file, (name, word) in {"users": USER, "auditors": AUDITOR}.items():
        (folder / file).write_text(f"{name}:{_openssl('passwd', '-apr1', word)}\n")
        (folder / file).chmod(0o644)
    folder.chmod(0o755)
    configuration = (SERVING / "proxy.conf.template").read_text()
    for old, new in {
        "${SULTANA_HOST}": HOST,
        "/run/secrets": str(folder),
        "listen 443": f"listen 127.0.0.1:{ports['proxy']}",
        "webserver:3000": f"127.0.0.1:{ports['webserver']}",
        "auditor:3000": f"127.0.0.1:{ports['auditor']}",
        "mlflow:5000": f"127.0.0.1:{ports['mlflow']}",
    }.items():
        assert old in configuration, old
        configuration = configuration.replace(old, new)
    user = "user root;" if os.geteuid() == 0 else ""  # pytest's folders are closed to other users
    (folder / "nginx.conf").write_text(
        f"daemon off; {user} pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off;\n{configuration}\n}}\n"
    )
    with ExitStack() as stack:
        for name, command in commands.items():
            _start(stack, folder / f"{name}.log", command, deployment.settings | {HOSTS: HOST})
        _start(stack, folder / "nginx.log", [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)], {})
        opened = Door(ports["proxy"], folder / "certificate")
        for path, who in {"/": USER, "/audit/": AUDITOR, "/mlflow/": USER}.items():
            _wait_until_it_answers(opened, path, who, folder)
        yield opened


def _wait_until_it_answers(door: Door, path: str, who: tuple[str, str], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            status = door.ask(path, who)[0]
        except OSError as error:
            status = str(error)
        if status == 200:
            return
        logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"{path}: {status}\n{logs}"
        time.sleep(1)


def _runs(answer: tuple[int, str]) -> list[dict[str, Any]]:
    status, text = answer
    assert status == 200, text
    found: list[dict[str, Any]] = json.loads(text)["data"]["runsOrError"]["results"]
    return found


@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/audit/", "/audit/graphql", "/mlflow/", "/mlflow/graphql"]
)
def test_nobody_gets_in_without_a_name_and_password(door: Door, path: str) -> None:
    query = RUNS if path.endswith("graphql") else None
    assert door.ask(path, None, query)[0] == 401
    assert door.ask(path, (USER[0], "a guess"), query)[0] == 401


def test_users_see_the_runs_that_are_in_postgresql(door: Door) -> None:
    assert {run["status"] for run in _runs(door.ask("/graphql", USER, RUNS))} == {"SUCCESS"}


def test_auditors_read_and_change_nothing(door: Door) -> None:
    assert door.ask("/", AUDITOR)[0] == door.ask("/mlflow/", AUDITOR)[0] == 401
    before = _runs(door.ask("/audit/graphql", AUDITOR, RUNS))
    delete = f'mutation {{ deletePipelineRun(runId: "{before[0]["runId"]}") {{ __typename }} }}'
    status, text = door.ask("/audit/graphql", AUDITOR, delete)
    assert status == 403 and "Readers change nothing" in text
    assert _runs(door.ask("/audit/graphql", AUDITOR, RUNS)) == before


@pytest.mark.parametrize("path", ["/graphql", "/mlflow/graphql"])
def test_a_page_elsewhere_cannot_use_a_signed_in_browser(door: Door, path: str) -> None:
    forged = path + "?query=mutation%20%7B%20__typename%20%7D"
    assert door.ask(forged, USER)[0] == 403
    assert door.ask(path, USER, RUNS, {"Origin": "https://elsewhere.example"})[0] == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "https://elsewhere.example"}
    assert door.ask(path, USER, None, upgrade)[0] == 403


def test_the_own_pages_can(door: Door) -> None:
    assert _runs(door.ask("/graphql", USER, RUNS, {"Origin": f"https://{HOST}"}))


def test_another_host_name_is_not_answered(door: Door) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, ssl.SSLError)):
        door.ask("/", USER, None, {"Host": "elsewhere.example"})


def test_the_guards_behind_do_not_rely_on_the_proxy(door: Door, deployment: Deployment) -> None:
    answer = door.ask("/mlflow/ajax-api/2.0/mlflow/experiments/create", USER, '{ "name": "taken" }')
    assert answer[0] == 403 and "only shows" in answer[1]
    lines = [json.loads(line) for line in (deployment.data / REFUSALS).read_text().splitlines()]
    refused = [line for line in lines if "only shows" in line["reason"]]
    assert refused[-1]["user"] == USER[0] and refused[-1]["remote"] == "127.0.0.1"


def test_mlflow_shows_what_is_in_postgresql(door: Door) -> None:
    status, text = door.ask("/mlflow/ajax-api/2.0/mlflow/experiments/search?max_results=10", USER)
    assert status == 200 and "Default" in {one["name"] for one in json.loads(text)["experiments"]}
