"""Tokens and roles, by a real server of the guard before an application that says what reached it."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestration.web.access import LOGIN, OPERATOR, READ_TOKEN, READER, TOKEN, Access, access_of
from orchestration.web.audit_log import CHANGES, AuditLog
from orchestration.web.dagster_rules import DagsterRules
from orchestration.web.guard import Guard
from orchestration.web.names import HOSTS, Names, names_of
from resources.errors import SultanaError
from tests.web.conftest import free_port
from tests.web.raw import Answer, request, send

OPERATORS, READERS = "operator-token-of-32-characters-", "reader-token-of-32-characters---"
MUTATION = b'{"query": "mutation { x }"}'


async def _reached(asked: Request) -> JSONResponse:
    headers = {"Access-Control-Allow-Origin": "*", "Server": "x"}
    return JSONResponse(
        {"role": asked.scope["sultana.role"], "body": (await asked.body()).decode()}, headers=headers
    )


@contextmanager
def guarded(folder: Path, access: Access) -> Iterator[int]:
    """The port of the guard with these tokens."""
    port = free_port()
    behind = Starlette(routes=[Route("/{path:path}", _reached, methods=["GET", "POST"])])
    guard = Guard(behind, DagsterRules(lambda _: True), Names(port), access, AuditLog(folder))
    server = uvicorn.Server(
        uvicorn.Config(guard, port=port, http="h11", log_level="warning", server_header=False)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with guarded(tmp_path, Access({OPERATOR: OPERATORS, READER: READERS}, cookie="sultana")) as one:
        yield one


def ask(port: int, path: str = "/", body: bytes = b"", **headers: str) -> Answer:
    sent = {"Host": f"127.0.0.1:{port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body and "Content-Type" not in sent:
        sent["Content-Type"] = "application/json"
    return send(port, request("POST" if body else "GET", path, sent, body))


def sign_in(port: int, token: str, onward: str = "/runs?a=b", **headers: str) -> Answer:
    form = urlencode({"token": token, "next": onward}).encode()
    return ask(
        port, LOGIN, form, Content_Type="application/x-www-form-urlencoded", Accept="text/html", **headers
    )


def test_without_a_token_nothing_is_reached(port: int) -> None:
    assert ask(port).status == ask(port, "/graphql", MUTATION).status == 401
    assert (
        ask(port, Authorization="Bearer x").status
        == ask(port, Authorization=f"Basic {OPERATORS}").status
        == 401
    )
    page = ask(port, "/runs", Accept="text/html")
    assert page.status == 401 and b'name="token"' in page.body and b'value="/runs"' in page.body


def test_an_operator_changes_and_a_reader_reads(port: int) -> None:
    operator, reader = {"Authorization": f"Bearer {OPERATORS}"}, {"Authorization": f"Bearer {READERS}"}
    assert ask(port, **operator).json()["role"] == OPERATOR and ask(port, **reader).json()["role"] == READER
    assert ask(port, "/graphql", MUTATION, **operator).status == 200
    refused = ask(port, "/graphql", MUTATION, **reader)
    assert refused.status == 403 and "Readers change nothing" in refused.body.decode()
    assert ask(port, "/graphql", b'{"query": "{ x }"}', **reader).status == 200


def test_signing_in_gives_a_cookie_that_ends_and_cannot_be_made(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = sign_in(port, READERS)
    assert answer.status == 303 and answer.headers["location"] == "/runs?a=b"
    cookie, _, flags = answer.headers["set-cookie"].partition(";")
    assert "HttpOnly" in flags and "SameSite=Lax" in flags and READERS not in cookie
    assert ask(port, Cookie=cookie).json()["role"] == READER
    name, _, value = cookie.partition("=")
    role, end, seal = value.split(".")
    for forged in (
        f"operator.{end}.{seal}",
        f"{role}.{int(end) + 1}.{seal}",
        f"{role}.{end}.",
        "x",
        "..",
        f"{role}...",
    ):
        assert ask(port, Cookie=f"{name}={forged}").status == 401
    later = time.time() + 13 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert ask(port, Cookie=cookie).status == 401


@pytest.mark.parametrize(
    "onward", ["//elsewhere.example", "http://elsewhere.example", "/\\elsewhere.example", "/a\r\nX: y", ""]
)
def test_signing_in_leads_nowhere_else(port: int, onward: str) -> None:
    assert sign_in(port, OPERATORS, onward).headers["location"] == "/"


def test_wrong_tokens_take_time_and_forms_of_other_sites_are_refused(port: int) -> None:
    began = time.monotonic()
    wrong = sign_in(port, "a guess")
    assert wrong.status == 401 and b"That is not the token" in wrong.body and time.monotonic() - began >= 1
    assert sign_in(port, OPERATORS, Origin="http://elsewhere.example").status == 403
    assert ask(port, LOGIN, b"{}", Content_Type="application/json").status == 415
    assert ask(port, LOGIN, b"%", Content_Type="application/x-www-form-urlencoded").status == 400
    found: list[int] = []
    guesses = [
        threading.Thread(target=lambda: found.append(sign_in(port, "a guess").status)) for _ in range(12)
    ]
    for one in guesses:
        one.start()
    for one in guesses:
        one.join()
    assert set(found) == {401, 429}


def test_nothing_of_an_answer_lets_other_sites_read_it(port: int) -> None:
    answer = ask(port, Authorization=f"Bearer {OPERATORS}")
    assert not {"access-control-allow-origin", "server"} & set(answer.headers)


def test_without_tokens_everybody_is_an_operator_or_with_read_only_a_reader(tmp_path: Path) -> None:
    for read_only, role in ((False, OPERATOR), (True, READER)):
        with guarded(tmp_path, Access(read_only=read_only)) as port:
            assert ask(port).json()["role"] == role
            assert ask(port, "/graphql", MUTATION).status == (403 if read_only else 200)


def test_a_body_reaches_the_server_as_it_was_understood(tmp_path: Path) -> None:
    with guarded(tmp_path, Access()) as port:
        twice = b'{"query": "mutation { a }", "query": "{ b }", "more": 1}'
        assert json.loads(ask(port, "/graphql", twice).json()["body"]) == {
            "query": "{ b }",
            "variables": None,
        }


def test_what_cannot_be_written_down_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "ui" / "audit.jsonl").mkdir(parents=True)
    with guarded(tmp_path, Access()) as port:
        assert ask(port, "/graphql", MUTATION).status == 507
        assert ask(port, "/graphql", b'{"query": "{ b }"}').status == 200


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({TOKEN: "short"}, "ui-token-weak"),
        ({TOKEN: "words of a token with spaces"}, "ui-token-weak"),
        ({READ_TOKEN: "schlüssel-schlüssel-schlüssel"}, "ui-token-weak"),
        ({TOKEN: OPERATORS, READ_TOKEN: OPERATORS}, "ui-tokens-equal"),
        ({HOSTS: "https://sultana.example"}, "ui-host-name"),
        ({HOSTS: "sultana.example:8443"}, "ui-host-name"),
    ],
)
def test_settings_that_would_not_protect_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], code: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SultanaError) as refused:
        access_of(3000, read_only=False)
        names_of(3000)
    assert refused.value.code == code and OPERATORS not in str(refused.value)


def test_refusals_take_little_room_and_changes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.web.audit_log._LARGEST", 1000)
    log, minutes = AuditLog(tmp_path), iter(range(0, 60_000, 60))
    monkeypatch.setattr(time, "monotonic", lambda: next(minutes))
    for number in range(100):
        log.write({"number": number})
        log.refused({"number": number})
    assert [json.loads(line)["number"] for line in (tmp_path / CHANGES).read_text().splitlines()] == list(
        range(100)
    )
    assert len(list((tmp_path / "ui").iterdir())) == 3
    assert sum(path.stat().st_size for path in (tmp_path / "ui").glob("refused*")) < 2300
