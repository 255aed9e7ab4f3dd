"""OpenLineage events sent as assets materialize: to a real server, to a file, to nobody; and made again afterwards."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.evaluation.split_assets import benchmark_splits
from assets.instructions.assets import instructions, raw_instructions
from assets.instructions.retraction_assets import retractions
from assets.lineage.exports.openlineage_events import event_lines
from assets.materialized import materializations
from orchestration.lineage_events import announced, made_for_events
from resources.definitions import ComputeSetting, Storage
from resources.errors import SultanaError
from resources.lineage_transport import emit, is_configured

CONFIGURED = (raw_instructions, benchmark_splits)
ASSETS = (*CONFIGURED, retractions, instructions)
SORTED = ("instructions", "quarantine", "dropped_instructions")
MADE = ("raw_instructions", "benchmark_splits", "retractions", *SORTED)
STARTER = {"config": {"starter": {"rows": 200}}}


class Collector(HTTPServer):
    """A server that keeps what is posted to it, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 201
        self.paths: list[str] = []
        self.events: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.events.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_transport(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The client itself writes to the environment, and looks for files in these folders."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
            patch.delenv(name)
        yield
        for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
            del os.environ[name]


def materialize(
    instance: dg.DagsterInstance, folder: Path, *assets: dg.AssetsDefinition
) -> dg.ExecuteInProcessResult:
    chosen = assets or ASSETS
    return dg.materialize(
        announced(chosen),
        instance=instance,
        resources={"storage": Storage(folder=str(folder)), "compute": ComputeSetting()},
        run_config={"ops": {one.op.name: STARTER for one in chosen if one in CONFIGURED}},
    )


def logged(instance: dg.DagsterInstance, run: dg.ExecuteInProcessResult) -> str:
    return "\n".join(
        one.event_log_entry.user_message for one in instance.get_records_for_run(run.run_id).records
    )


def without_client(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without the tag that the client adds to what it sends."""
    for event in events:
        tags = event["run"]["facets"]["tags"]
        tags["tags"] = [one for one in tags["tags"] if one["key"] != "openlineage_client_version"]
    return sorted(events, key=lambda event: (event["eventTime"], event["run"]["runId"]))


def test_a_server_is_told_of_each_materialization_and_the_event_log_tells_the_same_again(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "of-tests")
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(instance, tmp_path / "data")
        assert run.success and "6 OpenLineage events were sent" in logged(instance, run)
        assert set(collector.paths) == {"/api/v1/lineage"}
        sent = without_client(collector.events)
        assert sorted((one["job"]["name"], one["eventType"]) for one in sent) == sorted(
            (name, state) for name in MADE for state in ("START", "COMPLETE")
        )
        tables = Storage(folder=str(tmp_path / "data")).tables()
        chain = [made_for_events(instance, tables, materializations(instance, name)[0]) for name in MADE]
        again = without_client([json.loads(line) for line in event_lines(chain, "of-tests")])
        assert again == sent

        # What is reused is the same run of the same job: a server that was told of it learns nothing else.
        collector.events.clear()
        materialize(instance, tmp_path / "data")
        assert without_client(collector.events) == sent


def test_events_name_versions_columns_and_their_lineage(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(instance, tmp_path)
        tables = Storage(folder=str(tmp_path)).tables()
        found = {name: materializations(instance, name)[0] for name in MADE}
        chain = [made_for_events(instance, tables, one) for one in found.values()]
        lines = [json.loads(line) for line in event_lines(chain, "sultana")]
    ends = {one["job"]["name"]: one for one in lines if one["eventType"] == "COMPLETE"}
    raw, kept = ends["raw_instructions"], ends["instructions"]
    read = found["raw_instructions"].record["settings"]["files"]
    assert {(one["name"], one["facets"]["version"]["datasetVersion"]) for one in raw["inputs"]} == {
        (f"sources/{source['name']}/{file['name']}", file["sha256"])
        for source in read
        for file in source["files"]
    }
    ref = found["raw_instructions"].table()
    (output,) = raw["outputs"]
    (read_again,) = [one for one in kept["inputs"] if one["name"] == "raw_instructions"]
    for dataset in (output, read_again):
        assert dataset["facets"]["version"]["datasetVersion"] == str(ref.version)
        assert {"key": "digest", "value": ref.digest, "source": "sultana"} in dataset["facets"]["tags"][
            "tags"
        ]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == ref.rows
    columns = {one["name"]: one for one in output["facets"]["schema"]["fields"]}
    assert [one["name"] for one in columns["messages"]["fields"]] == ["role", "content"]
    lineage = kept["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert [(one["name"], one["field"]) for one in lineage["messages"]["inputFields"]] == [
        ("raw_instructions", "messages")
    ]
    assert raw["run"]["facets"]["parent"]["run"]["runId"] == found["raw_instructions"].run_id
    assert raw["job"]["facets"]["ownership"]["owners"][0]["name"] == "team:sultana"
    commit = found["raw_instructions"].record["environment"]["git_commit"]
    assert raw["job"]["facets"]["sourceCodeLocation"]["version"] == commit
    assert str(tmp_path) not in json.dumps(lines)


def test_a_file_takes_the_events_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "events.jsonl"))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(instance, tmp_path / "data", raw_instructions)
        assert "2 OpenLineage events were sent" in logged(instance, run)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]


@pytest.mark.parametrize("status", [400, 503])
def test_a_server_that_refuses_breaks_no_run(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    collector.status = status
    address = f"http://somebody:secret@127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", address)
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(instance, tmp_path / "data", raw_instructions)
        told = logged(instance, run)
        assert run.success and materializations(instance, "raw_instructions")
    assert len(collector.events) == 1  # after a failure the others are not tried
    assert told.count("OpenLineage events could not be sent") == 1 and "secret" not in told


def test_a_transport_that_does_not_exist_breaks_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "no.such.Transport")
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(instance, tmp_path / "data", raw_instructions)
        assert run.success and "could not be sent" in logged(instance, run)


def test_what_keeps_events_from_being_made_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "noop")

    def broken() -> Iterator[Any]:
        raise SultanaError("The lineage is broken", "Restore the tables", code="lineage-broken")
        yield

    with pytest.raises(SultanaError, match="The lineage is broken"):
        emit(broken())


def test_nothing_is_attached_or_sent_where_nothing_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_configured() and announced(ASSETS) == list(ASSETS)
    assert emit(iter(())) == 0
    (tmp_path / "openlineage.yml").write_text("transport: {type: console}\n")
    assert is_configured() and all(one.hook_defs for one in announced(ASSETS))
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert not is_configured()
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    # A file that names no transport: the client would print the events.
    (tmp_path / "openlineage.yml").write_text("tags: {job: {team: data}}\n")
    with dg.DagsterInstance.ephemeral() as instance:
        run = materialize(instance, tmp_path / "data", raw_instructions)
        assert "0 OpenLineage events were sent" in logged(instance, run)
    assert '"eventType"' not in capsys.readouterr().out
