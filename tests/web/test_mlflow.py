"""MLflow's server shows what is there, and lets nobody change anything, read other folders, or run something."""

import json

import pytest

from tests.web.attacks import ELSEWHERE
from tests.web.conftest import Served
from tests.web.raw import Answer, request, send

API = "/ajax-api/2.0/mlflow"
CREATE = json.dumps({"name": "taken", "artifact_location": "file:///etc"}).encode()
SEARCH = json.dumps({"max_results": 10}).encode()


def ask(
    server: Served, method: str, path: str, body: bytes = b"", kind: str = "application/json", **headers: str
) -> Answer:
    sent = {
        "Host": f"127.0.0.1:{server.port}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if body:
        sent["Content-Type"] = kind
    return send(server.port, request(method, path.replace("RUN", server.run), sent, body))


WRITES = [
    ("POST", f"{API}/experiments/create", CREATE),
    ("POST", "/api/2.0/mlflow/experiments/create", CREATE),
    ("POST", f"{API}/experiments/update", b'{"experiment_id": "1", "new_name": "other"}'),
    ("POST", f"{API}/experiments/delete", b'{"experiment_id": "1"}'),
    ("POST", f"{API}/runs/create", b'{"experiment_id": "1"}'),
    ("POST", f"{API}/runs/delete", b'{"run_id": "RUN"}'),
    ("POST", f"{API}/runs/set-tag", b'{"run_id": "RUN", "key": "a", "value": "b"}'),
    ("POST", f"{API}/runs/log-batch", b'{"run_id": "RUN", "params": [{"key": "a", "value": "b"}]}'),
    ("POST", f"{API}/registered-models/create", b'{"name": "taken"}'),
    ("POST", f"{API}/registered-models/alias", b'{"name": "small", "alias": "champion", "version": "1"}'),
    ("DELETE", f"{API}/registered-models/delete", b'{"name": "small"}'),
    ("PATCH", f"{API}/registered-models/update", b'{"name": "small", "description": "x"}'),
    ("POST", f"{API}/model-versions/create", b'{"name": "small", "source": "file:///etc"}'),
    ("POST", f"{API}/logged-models", b'{"experiment_id": "1"}'),
    ("POST", f"{API}/upload-artifact?run_uuid=RUN&path=x", b"text"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts/x", b"text"),
    ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/RUN/artifacts/page.html", b""),
    ("POST", f"{API}/webhooks", b'{"name": "x", "url": "http://elsewhere.example"}'),
    ("POST", f"{API}/gateway-proxy", b'{"gateway_path": "http://elsewhere.example"}'),
    ("GET", f"{API}/gateway-proxy?gateway_path=http://elsewhere.example", b""),
    ("POST", "/ajax-api/3.0/mlflow/gateway/secrets/create", b'{"secret_name": "x"}'),
    ("GET", "/ajax-api/3.0/mlflow/gateway/secrets/list", b""),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message", b'{"message": "ls"}'),
    ("PUT", "/ajax-api/3.0/mlflow/assistant/config", b"{}"),
    ("POST", "/ajax-api/3.0/jobs/", b'{"function_fullname": "os.system"}'),
    ("POST", "/ajax-api/3.0/mlflow/scorer/invoke", b"{}"),
    ("POST", "/ajax-api/3.0/mlflow/demo/generate", b"{}"),
    ("POST", "/ajax-api/3.0/mlflow/traces", b"{}"),
    ("POST", "/v1/traces", b"{}"),
    ("POST", "/gateway/x/mlflow/invocations", b"{}"),
    ("POST", "/graphql", b'{"query": "mutation { x }"}'),
    ("GET", "/graphql?query=%7Btest%7D", b""),
]


def test_nothing_can_be_written_by_anybody(mlflow_server: Served) -> None:
    before = mlflow_server.state()
    found = {
        f"{method} {path}": ask(
            mlflow_server, method, path, body.replace(b"RUN", mlflow_server.run.encode())
        ).status
        for method, path, body in WRITES
    }
    assert {name: status for name, status in found.items() if not 400 <= status < 500} == {}
    assert mlflow_server.state() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere.example"},
        {"Host": "10.0.0.1:PORT"},
        {"Host": "127.0.0.1:1"},
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
    ],
    ids=str,
)
def test_other_sites_and_names_read_nothing(mlflow_server: Served, headers: dict[str, str]) -> None:
    sent = {name: value.replace("PORT", str(mlflow_server.port)) for name, value in headers.items()}
    for method, path, body in (
        ("POST", f"{API}/runs/search", SEARCH),
        ("GET", f"{API}/runs/get?run_id=RUN", b""),
    ):
        answer = ask(mlflow_server, method, path, body, **sent)
        assert answer.status == 403 and "access-control-allow-origin" not in answer.headers
    assert ask(mlflow_server, "GET", "/health", **sent).status == 403


@pytest.mark.parametrize(
    "body", [b"[1]", b"null", b"x", b"\xff", b"{", b"[" * 100_000, b'{"max_results": "many"}']
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_bad_bodies_are_the_senders_fault(mlflow_server: Served, body: bytes, kind: str) -> None:
    assert 400 <= ask(mlflow_server, "POST", f"{API}/runs/search", body, kind).status < 500


@pytest.mark.parametrize(
    "path",
    [
        "/get-artifact?run_uuid=RUN&path=../../../../../../etc/passwd",
        "/get-artifact?run_uuid=RUN&path=%2fetc%2fpasswd",
        "/get-artifact?run_uuid=RUN&path=..%5c..%5cetc%5cpasswd",
        "/get-artifact?run_uuid=RUN&path=nothing",
        "/get-artifact?run_uuid=x&path=page.html",
        "/get-artifact",
        f"{API}/artifacts/list?run_id=RUN&path=../..",
        f"{API}/metrics/get-history?run_id=RUN",
        f"{API}/runs/get",
        "/static-files/../../../../etc/passwd",
        "/static-files/%2e%2e/%2e%2e/etc/passwd",
        "/model-versions/get-artifact?name=small&version=1&path=../../etc/passwd",
    ],
)
def test_odd_addresses_are_the_senders_fault(mlflow_server: Served, path: str) -> None:
    answer = ask(mlflow_server, "GET", path)
    assert 400 <= answer.status < 500 and b"root:" not in answer.body


def test_what_is_there_is_shown(mlflow_server: Served) -> None:
    found = ask(mlflow_server, "POST", f"{API}/runs/search", b'{"experiment_ids": ["1"]}').json()
    assert found["runs"][0]["data"]["params"] == [{"key": "rank", "value": "8"}]
    page = ask(mlflow_server, "GET", "/", Accept="text/html")
    assert page.status == 200 and page.headers["x-frame-options"] == "SAMEORIGIN"
    assert ask(mlflow_server, "GET", "/version").status == 200


def test_a_page_among_the_files_cannot_act_as_a_page_of_the_server(mlflow_server: Served) -> None:
    answer = ask(mlflow_server, "GET", "/get-artifact?run_uuid=RUN&path=page.html")
    assert answer.status == 200 and b"<script>" in answer.body
    assert answer.headers["content-security-policy"].startswith("sandbox;")
