"""Nothing that a page of another site, or a program that means harm, sends changes anything or breaks the server."""

import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from orchestration.web.audit_log import CHANGES, REFUSALS
from tests.web.attacks import MESSAGES, WIPE, Target, delete, graphql, requests
from tests.web.conftest import Served, run_of_the_small
from tests.web.raw import Answer, request, send

VERSION = "{ version }"


def post(server: Served, query: str, **headers: str) -> Answer:
    """GraphQL as a program asks it."""
    found = {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json", **headers}
    return send(server.port, request("POST", "/graphql", found, graphql(query)))


def lines(server: Served, log: Path = CHANGES) -> list[dict[str, object]]:
    return [json.loads(line) for line in (server.data / log).read_text().splitlines()]


def test_attacks_change_nothing_and_are_refused(dagster_server: Served) -> None:
    target = Target(dagster_server.port, dagster_server.run)
    before = dagster_server.state()
    found = {name: send(dagster_server.port, data).status for name, data in requests(target)}
    wrong = {name: status for name, status in found.items() if status != 0 and not 400 <= status < 500}
    assert wrong == {}
    assert len(found) >= 90 and dagster_server.state() == before
    assert post(dagster_server, VERSION).json()["data"]["version"]
    said = dagster_server.said.read_text()
    assert "Traceback" not in said and "ERROR" not in said, said


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_messages_on_an_open_connection_change_nothing(dagster_server: Served, message: str) -> None:
    before = dagster_server.state()
    with connect(f"ws://127.0.0.1:{dagster_server.port}/graphql", subprotocols=["graphql-ws"]) as connection:
        connection.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=60)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert dagster_server.state() == before


def test_an_open_connection_serves_the_own_pages(dagster_server: Served) -> None:
    origin = f"http://127.0.0.1:{dagster_server.port}"
    with connect(
        f"ws://127.0.0.1:{dagster_server.port}/graphql", subprotocols=["graphql-ws"], origin=origin
    ) as connection:
        connection.send(json.dumps({"type": "connection_init"}))
        assert json.loads(connection.recv(timeout=60))["type"] == "connection_ack"
        query = f'subscription {{ pipelineRunLogs(runId: "{dagster_server.run}") {{ __typename }} }}'
        connection.send(
            json.dumps({"type": "start", "id": "1", "payload": {"query": query, "variables": {}}})
        )
        assert json.loads(connection.recv(timeout=60))["type"] == "data"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{dagster_server.port}/graphql", subprotocols=["graphql-ws"], origin="null")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LocalHost"])
def test_the_names_of_this_machine_are_answered(dagster_server: Served, name: str) -> None:
    host = f"{name}:{dagster_server.port}"
    assert post(dagster_server, VERSION, Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize("path", ["/", "/runs", "/graphql", "/server_info", "/favicon.svg", "/assets/first"])
def test_the_pages_open_and_cannot_be_framed(dagster_server: Served, path: str) -> None:
    headers = {"Host": f"127.0.0.1:{dagster_server.port}", "Accept": "text/html"}
    answer = send(dagster_server.port, request("GET", path, headers))
    assert answer.status == 200
    assert (
        answer.headers["x-frame-options"] == "DENY" and answer.headers["x-content-type-options"] == "nosniff"
    )
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert not {"server", "access-control-allow-origin"} & set(answer.headers)


def test_a_link_of_another_site_opens_a_page_and_a_frame_does_not(dagster_server: Served) -> None:
    headers = {
        "Host": f"127.0.0.1:{dagster_server.port}",
        "Accept": "text/html",
        "Sec-Fetch-Site": "cross-site",
    }
    link = headers | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    frame = headers | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    image = headers | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    asked = [send(dagster_server.port, request("GET", "/runs", one)).status for one in (link, frame, image)]
    assert asked == [200, 403, 403]


def test_what_is_changed_stands_in_the_audit_log_without_what_was_sent(dagster_server: Served) -> None:
    before = dagster_server.state()
    secret = "canary-5f1e2"
    tags = f'[{{key: "word", value: "{secret}"}}]'
    selector = (
        '{repositoryLocationName: "small", repositoryName: "__repository__", pipelineName: "make_first"}'
    )
    start = f"""mutation Start {{ launchRun(executionParams: {{selector: {selector}, mode: "default",
        executionMetadata: {{tags: {tags}}}}}) {{ __typename ... on LaunchRunSuccess {{ run {{ runId }} }} }} }}"""
    started = post(dagster_server, start, Origin=f"http://127.0.0.1:{dagster_server.port}").json()["data"][
        "launchRun"
    ]
    assert started["__typename"] == "LaunchRunSuccess" and dagster_server.state() != before
    told = lines(dagster_server)
    (asked,) = [one for one in told if one["event"] == "asked" and one["operation"] == "Start"]
    (answered,) = [one for one in told if one["event"] == "answered" and one["id"] == asked["id"]]
    assert asked["role"] == "operator"
    assert asked["fields"] == ["launchRun"] and "pipelineName=make_first" in asked["targets"]
    assert answered["status"] == 200
    assert answered["results"] == ["LaunchRunSuccess"] and answered["made"] == [started["run"]["runId"]]
    log = dagster_server.data / CHANGES
    assert secret not in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "query",
    [
        '{ capturedLogs(logKey: ["..", "..", "etc", "passwd"]) { stdout } }',
        '{ capturedLogsMetadata(logKey: ["..", "x"]) { stdoutLocation } }',
        '{ logsForRun(runId: "RUN", afterCursor: "x") { __typename } }',
        "{ runsOrError(filter: {createdBefore: 1e308}) { ... on Runs { results { id } } } }",
        'mutation { stopSensor(id: "x") { __typename } }',
        'mutation { cancelPartitionBackfill(backfillId: "x") { __typename } }',
        'mutation { launchPartitionBackfill(backfillParams: {partitionNames: ["x"]}) { __typename } }',
        'mutation { launchRunReexecution(reexecutionParams: {parentRunId: "x", strategy: ALL_STEPS}) { __typename } }',
    ],
)
def test_values_that_cannot_be_used_are_told_in_the_answer(dagster_server: Served, query: str) -> None:
    before = dagster_server.state()
    answer = post(dagster_server, query.replace("RUN", dagster_server.run))
    assert answer.status == 200 and b"root:" not in answer.body
    assert "errors" in answer.json() or "PythonError" in answer.body.decode()
    assert dagster_server.state() == before


def test_a_flood_of_refusals_is_counted_and_not_written_out(dagster_server: Served) -> None:
    wipe = request("POST", "/graphql", {"Host": "elsewhere.example"}, graphql(WIPE))
    before = len(lines(dagster_server, REFUSALS))
    for _ in range(150):
        assert send(dagster_server.port, wipe).status == 403
    assert len(lines(dagster_server, REFUSALS)) - before <= 122


def test_a_run_that_exists_can_be_deleted_by_the_own_page(dagster_server: Served) -> None:
    origin = f"http://127.0.0.1:{dagster_server.port}"
    run = run_of_the_small(dagster_server.data)  # other tests look at the server's first one
    found = post(dagster_server, delete(run), Origin=origin, **{"Sec-Fetch-Site": "same-origin"})
    assert found.json()["data"]["deleteRun"]["__typename"] == "DeletePipelineRunSuccess"
