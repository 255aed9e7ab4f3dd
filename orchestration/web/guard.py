"""The guard in front of a web server: ASGI middleware that lets through what a person's own browser or a program asks.

Neither Dagster nor MLflow asks who sends a request; without this, any page that a person visits could have their
browser start runs or delete what they made. Order of the checks: form, name, sender, role, size, and then the rules of
the server behind.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.web.access import LOGIN, NOBODY, Access
from orchestration.web.asked import Asked, Refused, media_type, read_asked
from orchestration.web.audit_log import AuditLog
from orchestration.web.names import Names, changes_state
from orchestration.web.pages import HEADERS as PAGE_HEADERS
from orchestration.web.pages import refusal_page, sign_in_page
from orchestration.web.results import is_result, read_results
from orchestration.web.rules import Passed, Rules

MAXIMUM_BODY = 4 * 1024 * 1024
MAXIMUM_FORM = 8 * 1024
BODY_SECONDS = 30.0
_METHODS = ("GET", "HEAD", "POST")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it, browsers send the sign-in form without saying that it comes from here.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass
class Guard:
    """Stands before `application`, which is reached below `prefix`. Requests to it carry `role` in their scope."""

    application: ASGIApp
    rules: Rules
    names: Names
    access: Access
    log: AuditLog
    prefix: str = ""
    behind_proxy: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connection(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, role = None, NOBODY
        try:
            asked = read_asked(scope, self.prefix)
            role = self._admit(asked, changes=changes_state(asked.method))
            if asked.method not in _METHODS:
                raise Refused(405, "Requests are made by GET and POST")
            if asked.path == LOGIN and asked.method == "POST" and self.access.tokens:
                await self._sign_in(asked, scope, await _read_body(asked, receive, MAXIMUM_FORM), send)
                return
            if role == NOBODY:
                raise Refused(401, "This server asks for a token")
            body = await _read_body(asked, receive, MAXIMUM_BODY)
            passed = await self.rules.judge(asked, body, role)
            if passed.changes:
                await self._change(scope, asked, role, passed, body, receive, send)
                return
        except Refused as refused:
            self._note_refusal(scope, asked, role, refused)
            await self._answer(refused, asked, send)
            return
        await self._pass_on(scope, role, passed, body, receive, send)

    def _admit(self, asked: Asked, *, changes: bool) -> str:
        self.names.check_host(asked)
        self.names.check_sender(asked, changes=changes)
        return self.access.role(asked)

    async def _pass_on(
        self, scope: Scope, role: str, passed: Passed, body: bytes, receive: Receive, send: Send
    ) -> None:
        content = body if passed.body is None else passed.body
        headers = [
            one for one in scope["headers"] if one[0].lower() not in (b"content-length", b"transfer-encoding")
        ]
        if content:
            headers.append((b"content-length", str(len(content)).encode()))
        sent = False

        async def receive_body() -> Message:
            nonlocal sent
            if sent:  # the whole body has been read, so what comes next is that the connection ended
                return await receive()
            sent = True
            return {"type": "http.request", "body": content, "more_body": False}

        guarded = _with_headers(send, {**_ALWAYS, **self.rules.headers, **dict(passed.headers)})
        guarded = _with_errors_inside(guarded) if passed.is_graphql else guarded
        await self.application({**scope, "headers": headers, "sultana.role": role}, receive_body, guarded)

    async def _change(
        self, scope: Scope, asked: Asked, role: str, passed: Passed, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Passes on what changes something, with a line in the log before and one after it."""
        line = {
            "id": uuid.uuid4().hex,
            **self._sender(scope, asked, role),
            "operation": passed.operation,
            "fields": passed.fields,
            "targets": passed.targets,
        }
        self._write({"event": "asked", **line})
        status, content = 0, bytearray()

        async def listen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif len(content) < MAXIMUM_BODY:
                content.extend(message.get("body", b""))
            await send(message)

        try:
            await self._pass_on(scope, role, passed, body, receive, listen)
        finally:
            results, made = read_results(bytes(content))
            self.log.answered({"id": line["id"], "status": status, "results": results, "made": made})

    def _write(self, line: Mapping[str, Any]) -> None:
        """A line about what is done next. Raises Refused, so that it is not done, where that cannot be written."""
        try:
            self.log.write(line)
        except OSError:
            raise Refused(507, "The audit log cannot be written, so nothing is changed") from None

    def _sender(self, scope: Scope, asked: Asked, role: str) -> dict[str, Any]:
        user = asked.headers.get("x-forwarded-user", "") if self.behind_proxy else ""
        return {"role": role, "remote": asked.remote, **({"user": user[:80]} if user else {})}

    async def _sign_in(self, asked: Asked, scope: Scope, body: bytes, send: Send) -> None:
        if media_type(asked) != "application/x-www-form-urlencoded":
            raise Refused(415, "The token is sent by the form")
        role, cookie, onward = await self.access.sign_in(body, secure=scope.get("scheme") == "https")
        self._write({"event": "signed in", **self._sender(scope, asked, role)})
        headers = {**_ALWAYS, **PAGE_HEADERS, "Location": self.prefix + onward, "Set-Cookie": cookie}
        await _send_all(send, 303, headers, b"")

    def _note_refusal(self, scope: Scope, asked: Asked | None, role: str, refused: Refused) -> None:
        sender = {} if asked is None else self._sender(scope, asked, role)
        kind = "websocket" if scope["type"] == "websocket" else scope.get("method", "")[:16]
        self.log.refused({**sender, "method": kind, "status": refused.status, "reason": refused.reason})

    async def _answer(self, refused: Refused, asked: Asked | None, send: Send) -> None:
        status, reason = refused.status, refused.reason
        headers = {**_ALWAYS, **PAGE_HEADERS, "Connection": "close"}
        if asked is not None and asked.wants_html:
            headers["Content-Type"] = "text/html; charset=utf-8"
            page = refusal_page(reason)
            if status == 401 and asked.is_page:
                page = sign_in_page(self.prefix + LOGIN, _address(asked))
            elif status in (401, 429) and asked.path == LOGIN:
                page = sign_in_page(self.prefix + LOGIN, "/", f"{reason}.")
            content = page.encode()
        else:
            headers["Content-Type"] = "application/json"
            content = json.dumps({"errors": [{"message": f"{reason}."}]}).encode()
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status == 405:
            headers["Allow"] = ", ".join(_METHODS)
        await _send_all(
            send, status, headers, b"" if asked is not None and asked.method == "HEAD" else content
        )

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A connection that stays open: admitted as a change would be, then watched message by message."""
        asked, role, closed = None, NOBODY, False
        try:
            asked = read_asked(scope, self.prefix)
            role = self._admit(asked, changes=True)
            if role == NOBODY:
                raise Refused(401, "This server asks for a token")
        except Refused as refused:
            self._note_refusal(scope, asked, role, refused)
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: status 403
            return

        async def watched() -> Message:
            nonlocal closed
            message = await receive()
            if message["type"] == "websocket.receive" and not closed:
                try:
                    self.rules.judge_message(message.get("text") or "")
                except Refused as refused:
                    self._note_refusal(scope, asked, role, refused)
                    closed = True
                    await send({"type": "websocket.close", "code": 1008})
                    return {"type": "websocket.disconnect", "code": 1008}
            return message

        async def unless_closed(message: Message) -> None:
            if not closed:
                await send(message)

        await self.application({**scope, "sultana.role": role}, watched, unless_closed)


def _address(asked: Asked) -> str:
    return asked.path + (f"?{asked.query}" if asked.query else "")


async def _read_body(asked: Asked, receive: Receive, maximum: int) -> bytes:
    """The whole body. Raises Refused where it has more bytes than `maximum`, or does not come within 30 seconds."""
    length = asked.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 12:
        raise Refused(400, "The length of the body is no number")
    if int(length) > maximum:
        raise Refused(413, "The body is too large")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "The connection ended within the body")
                content += message.get("body", b"")
                if len(content) > maximum:
                    raise Refused(413, "The body is too large")
                if not message.get("more_body", False):
                    return bytes(content)
    except TimeoutError:
        raise Refused(408, "The body did not come in time") from None


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """A sender that sets headers, and drops those that would let other sites read the answer.

    A policy on content is added to one that is there: browsers then keep both.
    """
    policy = "content-security-policy"
    set_here = {name.lower() for name in headers} - {policy}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = []
            for name, value in message.get("headers", []):
                key = name.decode("latin-1").lower()
                if key not in set_here and key != "server" and not key.startswith("access-control-"):
                    kept.append((name, value))
            added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            message = {**message, "headers": kept + added}
        await send(message)

    return sending


def _with_errors_inside(send: Send) -> Send:
    """A sender that gives a GraphQL answer the status 200 also where a value could not be used.

    Dagster says 500 then, of a run that does not exist as of a path that climbs; its pages show what the answer says
    only with 200. An answer that is no GraphQL keeps its status.
    """
    started: Message | None = None
    content = bytearray()

    async def sending(message: Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start" and message["status"] == 500:
            started = message
        elif started is None:
            await send(message)
        else:
            content.extend(message.get("body", b""))
            if not message.get("more_body", False):
                status = 200 if is_result(bytes(content)) else 500
                await send({**started, "status": status})
                await send({"type": "http.response.body", "body": bytes(content)})

    return sending


async def _send_all(send: Send, status: int, headers: Mapping[str, str], content: bytes) -> None:
    listed = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    listed.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": content})
