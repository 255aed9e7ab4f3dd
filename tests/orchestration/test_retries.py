"""A step is tried again after what may pass, and after nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.retries import is_transient
from orchestration.definitions import defs
from orchestration.instance import open_instance
from resources.errors import SultanaError, TransientError
from tests.orchestration.servers import http_server

ROW = b'{"instruction": "Say yes.", "input": "", "output": "yes"}\n'


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A real instance, and waits that a test can bear."""
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SULTANA_ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setattr("assets.retries.FIRST_WAIT_SECONDS", 0.01)
    with open_instance(tmp_path / "data") as made:
        yield made


def read(instance: dg.DagsterInstance, address: str) -> tuple[bool, list[str]]:
    """Whether a source could be read, and the kinds of the step's events."""
    sources: list[dict[str, Any]] = [{"name": "remote", "path": address}]
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        run_config={"ops": {"raw_instructions": {"config": {"sources": sources}}}},
        asset_selection=[dg.AssetKey("raw_instructions")],
        raise_on_error=False,
    )
    return result.success, [one.event_type_value for one in result.all_events]


def test_a_server_that_is_busy_is_asked_again(instance: dg.DagsterInstance) -> None:
    busy = [503] * 4  # each try asks twice, by HEAD and by GET
    with http_server(lambda _: (busy.pop(), b"") if busy else (200, ROW)) as asked:
        succeeded, events = read(instance, f"{asked.address}/rows.jsonl")
    assert succeeded
    assert events.count("STEP_UP_FOR_RETRY") == 2 and events.count("STEP_RESTARTED") == 2


def test_a_server_that_stays_busy_is_given_up(instance: dg.DagsterInstance) -> None:
    with http_server(lambda _: (503, b"")) as asked:
        succeeded, events = read(instance, f"{asked.address}/rows.jsonl")
    assert not succeeded
    assert events.count("STEP_UP_FOR_RETRY") == 3


def test_what_is_not_there_is_not_asked_for_again(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with http_server(lambda _: (404, b"")) as asked:
        for address in (f"{asked.address}/rows.jsonl", str(tmp_path / "missing.jsonl")):
            succeeded, events = read(instance, address)
            assert not succeeded
            assert "STEP_UP_FOR_RETRY" not in events


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TransientError("The server is busy", "Wait", code="mlflow-failed"), True),
        (SultanaError("The file is missing", "Correct the path", code="source-not-found"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError("database is locked"), True),
        (SultanaError("MLflow failed: database is locked", "Wait", code="mlflow-failed"), True),
        (MemoryError(), False),
        (ValueError("a defect"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert is_transient(error) is passes


def test_the_cause_counts() -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = ConnectionRefusedError()
    assert is_transient(outer)
