"""Failures and recoveries reach a real server, and the address that they are sent to is shown nowhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration.alerts import _reason, alert_on_failure, alert_on_recovery
from orchestration.definitions import defs
from orchestration.instance import open_instance
from resources.alerts import EMAIL, SMTP, WEBHOOK, Alert, send
from resources.errors import SultanaError
from tests.orchestration.servers import http_server, mail_server

SECRET = "T0KEN-that-nobody-may-see"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A real instance in an empty data folder."""
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path / "data"))
    with open_instance(tmp_path / "data") as made:
        yield made


def read(instance: dg.DagsterInstance, path: Path) -> dg.ExecuteInProcessResult:
    """Reads a source, which may not be there."""
    sources = [{"name": "mine", "path": str(path)}]
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        run_config={"ops": {"raw_instructions": {"config": {"sources": sources}}}},
        asset_selection=[dg.AssetKey("raw_instructions")],
        raise_on_error=False,
    )


def tell_of_failure(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    event = next(one for one in result.all_events if one.event_type_value == "PIPELINE_FAILURE")
    alert_on_failure(
        dg.build_run_status_sensor_context(
            sensor_name="alert_on_failure",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
    )


def tell_of_success(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    event = next(one for one in result.all_events if one.event_type_value == "PIPELINE_SUCCESS")
    alert_on_recovery(
        dg.build_run_status_sensor_context(
            sensor_name="alert_on_recovery",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        )
    )


def test_a_failure_and_the_recovery_from_it_are_told_once(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rows.jsonl"
    with http_server(lambda _: (200, b"ok")) as asked:
        monkeypatch.setenv(WEBHOOK, f"{asked.address}/hooks/{SECRET}")
        monkeypatch.setenv("SULTANA_UI_ADDRESS", "https://dagster.example/")
        failed = read(instance, source)
        assert not failed.success
        tell_of_failure(instance, failed)
        source.write_text('{"instruction": "Say yes.", "input": "", "output": "yes"}\n')
        for _ in range(2):
            done = read(instance, source)
            assert done.success
            tell_of_success(instance, done)
    assert [one["path"] for one in asked] == [f"/hooks/{SECRET}"] * 2
    failure, recovery = (json.loads(one["body"]) for one in asked)
    assert failure["event"] == "run_failed" and recovery["event"] == "run_recovered"
    assert failure["run_id"] == failed.run_id
    (step,) = failure["steps"]
    assert step["step"] == "raw_instructions" and "does not exist" in step["error"]
    assert "Correct the path" in failure["text"] and "Traceback" not in failure["text"]
    assert f"https://dagster.example/runs/{failed.run_id}" in failure["text"]
    everything = "".join(
        str(record) for run in instance.get_runs() for record in [run, *instance.all_logs(run.run_id)]
    )
    assert len(everything) > 10_000 and SECRET not in everything
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert SECRET.encode() not in stored


def test_a_check_that_stopped_a_run_is_told_with_what_to_do(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"instruction": "Say yes.", "input": "", "output": "yes"}\n' + '{"a": 1}\n' * 9)
    with http_server(lambda _: (200, b"ok")) as asked:
        monkeypatch.setenv(WEBHOOK, asked.address)
        tell_of_failure(instance, read(instance, source))
    (told,) = (json.loads(one["body"]) for one in asked)
    (check,) = told["checks"]
    assert check.startswith("raw_instructions, check enough_rows_are_readable: 10.0% of the raw rows")
    assert "minimum_readable_share of raw_instructions_checks" in check and check in told["text"]


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_webhook_that_does_not_take_it_is_an_error_without_the_address(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.alerts.WAITS_SECONDS", (0.01, 0.01))
    with http_server(lambda _: (status, b"")) as asked, pytest.raises(SultanaError) as caught:
        send(Alert("title", "text"), {WEBHOOK: f"{asked.address}/{SECRET}"})
    assert str(status) in str(caught.value) and WEBHOOK in str(caught.value)
    shown = repr([caught.value, caught.value.__cause__, caught.value.__context__])
    assert SECRET not in shown and asked.address not in shown
    assert len(asked) == (3 if status == 500 else 1)


def test_a_webhook_that_is_back_at_the_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.alerts.WAITS_SECONDS", (0.01, 0.01))
    answers = iter([(503, b""), (200, b"")])
    with http_server(lambda _: next(answers)) as asked:
        send(Alert("title", "text"), {WEBHOOK: asked.address})
    assert len(asked) == 2


@pytest.mark.parametrize(
    "address", [f"ftp://example/{SECRET}", SECRET, f"http://[{SECRET}", f"http://127.0.0.1:1/{SECRET}"]
)
def test_an_address_that_is_none_is_refused_without_showing_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.alerts.WAITS_SECONDS", ())
    with pytest.raises(SultanaError) as caught:
        send(Alert("title", "text"), {WEBHOOK: address})
    assert SECRET not in repr([caught.value, caught.value.__cause__, caught.value.__context__])


def test_an_alert_by_mail() -> None:
    with mail_server() as (port, taken):
        environment = {EMAIL: "one@example.org, two@example.org", SMTP: f"smtp://127.0.0.1:{port}"}
        send(Alert("Sultana: run failed", "Because of this."), environment)
    (message,) = taken
    assert "Subject: Sultana: run failed" in message and "Because of this." in message


def test_a_password_is_not_sent_without_encryption() -> None:
    with mail_server() as (port, taken), pytest.raises(SultanaError, match="no encryption") as caught:
        environment = {EMAIL: "one@example.org", SMTP: f"smtp://me:{SECRET}@127.0.0.1:{port}"}
        send(Alert("title", "text"), environment)
    assert taken == [] and SECRET not in repr([caught.value, caught.value.__context__])


def test_the_other_way_is_tried_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.alerts.WAITS_SECONDS", ())
    with mail_server() as (port, taken), pytest.raises(SultanaError, match=WEBHOOK):
        environment = {WEBHOOK: "nonsense", EMAIL: "one@example.org", SMTP: f"smtp://127.0.0.1:{port}"}
        send(Alert("title", "text"), environment)
    assert len(taken) == 1


def test_nothing_is_sent_where_nowhere_is_named(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    monkeypatch.delenv(EMAIL, raising=False)
    result = read(instance, tmp_path / "missing.jsonl")
    event = next(one for one in result.all_events if one.event_type_value == "PIPELINE_FAILURE")
    skipped = alert_on_failure(
        dg.build_run_status_sensor_context(
            sensor_name="alert_on_failure",
            dagster_event=event,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
    )
    assert isinstance(skipped, dg.SkipReason) and WEBHOOK in (skipped.skip_message or "")


def test_the_reason_told_is_our_sentence_and_not_what_it_came_from(tmp_path: Path) -> None:
    @dg.asset
    def refused() -> None:
        try:
            raise OSError("row canary-5512 could not be read")
        except OSError as error:
            raise SultanaError("The file a is damaged", "Fetch it again", code="file-damaged") from error

    result = dg.materialize([refused], raise_on_error=False)
    (event,) = result.filter_events(lambda one: one.is_step_failure)
    assert _reason(event).endswith("The file a is damaged. Fetch it again. [file-damaged]")
    assert "canary" not in _reason(event)
