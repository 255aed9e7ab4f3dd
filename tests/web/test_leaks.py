"""While the UI is open and everything is made once: nothing is reachable from or sent to other machines, files are
private, and neither secrets nor what stands in rows reaches a place that is not meant for it."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from assets.instructions.starter_files import starter_files
from orchestration.run import Request, plan
from tests.web.conftest import PROJECT, START_SECONDS, free_port
from tests.web.watched import Seen, hook_folder, watched

pytestmark = pytest.mark.slow
SECRETS = {
    "SULTANA_SMTP": "smtps://user:canary-smtp-1c9f@127.0.0.1:1",
    "SULTANA_ALERT_WEBHOOK": "http://127.0.0.1:1/canary-webhook-7d2e",
    "SULTANA_UI_TOKEN": "canary-operator-token-93ab",
    "SULTANA_UI_READ_TOKEN": "canary-reader-token-04cd",
    "PGPASSWORD": "canary-pgpassword-5e6f",
    "HF_TOKEN": "hf_canaryhuggingface8a7b",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-2b3c",
    "MLFLOW_TRACKING_PASSWORD": "canary-mlflow-6d7e",
    "SULTANA_SIGNING_KEY": "ca" * 31 + "17",
}
PERSONAL = "canary.person@private.example +49 170 0000000"
RUN_SECONDS = 1500


@dataclass(frozen=True)
class Lived:
    """A data folder after that, what was seen meanwhile, and what the commands said."""

    data: Path
    seen: Seen
    said: dict[str, str]
    ports: tuple[int, int]
    gone: bool


def _ask(port: int, query: str, variables: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {SECRETS['SULTANA_UI_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["data"]


def _sources(folder: Path) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """A source with a person's address in a row that is kept, in one that is doubled, and in three that are refused."""
    made = starter_files(folder / "starter", seed=0, rows=400)
    rows = b"".join(path.read_bytes() for path in made.instructions[:1])
    kept = {"instruction": f"Write to {PERSONAL} and say yes.", "input": "", "output": f"Yes, to {PERSONAL}."}
    refused = [{"instruction": PERSONAL, "output": ""}, {"instruction": PERSONAL, "output": 5}, [PERSONAL]]
    lines = [json.dumps(one).encode() for one in (kept, kept, *refused)] + [
        b'{"instruction": "' + PERSONAL.encode()
    ]
    source = folder / "source.jsonl"
    source.write_bytes(rows + b"\n".join(lines) + b"\n")
    return source, {split: (str(path),) for split, path in made.splits.items()}


def _launch_one(port: int, config: Any) -> str:
    """Materializes `raw_instructions` from the UI; the status that the run ends with."""
    selector = {
        "repositoryLocationName": "sultana",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": ["raw_instructions"]}],
        "assetCheckSelection": [],
    }
    parameters = {"selector": selector, "mode": "default", "runConfigData": json.dumps(config)}
    started = _ask(
        port,
        "mutation Make($given: ExecutionParams!) { launchRun(executionParams: $given) "
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        {"given": parameters},
    )["launchRun"]
    assert started["__typename"] == "LaunchRunSuccess", started
    end = time.monotonic() + RUN_SECONDS
    while True:
        query = f'{{ runOrError(runId: "{started["run"]["runId"]}") {{ ... on Run {{ status }} }} }}'
        status = str(_ask(port, query)["runOrError"]["status"])
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            return status
        assert time.monotonic() < end, status
        time.sleep(1)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Iterator[Lived]:
    """`sultana ui` with MLflow, a run of it, and a whole run of the command line beside it."""
    folder = tmp_path_factory.mktemp("leaks")
    source, splits = _sources(folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    (data / "models").symlink_to(models_folder, target_is_directory=True)
    hook = hook_folder(folder / "hook")
    environment = {**os.environ, **SECRETS, **hook, "SULTANA_DATA": str(data)}
    environment["PYTHONPATH"] += f"{os.pathsep}{PROJECT}"
    ports = free_port(), free_port()
    sultana = [sys.executable, "-m", "orchestration.cli"]
    ui_log, run_log = folder / "ui.txt", folder / "run.txt"
    roots: list[int] = []

    def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            one = subprocess.Popen(
                [*sultana, *arguments], cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        roots.append(one.pid)
        return one

    with watched(Path(hook["SOCKET_LOG"]), roots) as seen:
        ui = start(["ui", "--port", str(ports[0]), "--mlflow-port", str(ports[1])], ui_log)
        try:
            _wait(ports[0], ui, ui_log)
            _wait(ports[1], ui, ui_log)
            request = Request(preset="smoke", sources=[str(source)], splits=splits)
            assert _launch_one(ports[0], plan(request).run_config) == "SUCCESS", ui_log.read_text()
            options = [
                f"--{name.replace('_', '-')}={path}" for name, paths in splits.items() for path in paths
            ]
            limits = ["--preset", "smoke", "--strategy", "random", "--seed", "0"]
            run = start(["run", *limits, "--source", str(source), *options], run_log)
            assert run.wait(RUN_SECONDS) == 0, run_log.read_text()[-4000:]
            below = psutil.Process(ui.pid).children(recursive=True)
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(120)
    gone = not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below)
    said = {"ui": ui_log.read_text(), "run": run_log.read_text()}
    yield Lived(data, seen, said, ports, gone)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not _answers(port):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.5)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
    except urllib.error.HTTPError as error:
        return error.code == 401  # it asks for the token
    except OSError:
        return False
    return True


def test_nothing_can_be_reached_from_another_machine(lived: Lived) -> None:
    assert {("127.0.0.1", port) for port in lived.ports} <= lived.seen.listened
    assert [one for one in lived.seen.listened if not ip_address(one[0]).is_loopback] == []
    assert len(lived.seen.processes) >= 8


def test_nothing_is_sent_to_another_machine(lived: Lived) -> None:
    assert lived.seen.noted() and lived.seen.outward() == []


def test_all_processes_end_with_the_ui(lived: Lived) -> None:
    assert lived.gone


def test_files_are_private(lived: Lived) -> None:
    open_to_others = [
        str(path.relative_to(lived.data))
        for path in lived.data.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    assert open_to_others == []


def _holding(data: Path, canary: str) -> set[str]:
    """The files that hold a text, in UTF-8 or UTF-16, by their place in the data folder."""
    forms = [canary.encode(), canary.encode("utf-16-le")]
    found = set()
    for folder, _, names in os.walk(data):  # links, as that of the models, are not followed
        for path in (Path(folder) / name for name in names):
            content = path.read_bytes() if path.is_file() else b""
            if any(form in content for form in forms):
                found.add(str(path.relative_to(data)))
    return found


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_nowhere(lived: Lived, name: str) -> None:
    secret = SECRETS[name].rpartition("/")[2].partition("@")[0].removeprefix("user:")
    assert "canary" in secret or name == "SULTANA_SIGNING_KEY"
    assert _holding(lived.data, secret) == set()
    assert all(secret not in said for said in lived.said.values())


def test_personal_data_in_rows_is_in_their_tables_alone(lived: Lived) -> None:
    person = PERSONAL.partition(" ")[0]
    held = _holding(lived.data, person)
    places = {"/".join(Path(one).parts[:2]) for one in held}
    assert any(one.startswith("lance/") for one in held)
    assert {one for one in places if not one.startswith("lance/")} == set()
    assert all(person not in said for said in lived.said.values())
