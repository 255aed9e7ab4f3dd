"""What Dagster's web server may be asked, and by whom."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestration.web.access import OPERATOR
from orchestration.web.asked import Asked, Refused, media_type
from orchestration.web.graphql_requests import read_json, read_request
from orchestration.web.rules import Passed

GRAPHQL = "/graphql"
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOGS = re.compile(r"/logs/[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)+\.(out|err)")
# Events that no run made would be a lineage that nothing stands behind; notebooks are not part of Sultana.
_CLOSED = re.compile(r"/(report_asset_[a-z]+|notebook|dagit)(/.*)?", re.IGNORECASE)
_MESSAGES = {"connection_init", "connection_terminate", "start", "stop"}
# Dagster's own policy lets scripts come from anywhere that an allowed script asks for; both policies hold.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "frame-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass
class DagsterRules:
    """Rules for Dagster; `has_run` says whether a run of that id exists."""

    has_run: Callable[[str], bool]
    headers: dict[str, str] = field(
        default_factory=lambda: {"Content-Security-Policy": _POLICY, "X-Frame-Options": "DENY"}
    )

    async def judge(self, asked: Asked, body: bytes, role: str) -> Passed:
        """GraphQL by POST, and pages and files by GET. Only operators may change anything. Raises Refused."""
        if asked.path.rstrip("/") == GRAPHQL:
            return self._graphql(asked, body, role)
        if asked.method not in ("GET", "HEAD"):
            raise Refused(405, "Only GraphQL is asked by other methods than GET")
        if body:
            raise Refused(400, "This request has no body")
        if _CLOSED.fullmatch(asked.path):
            raise Refused(404, "There is nothing at this address")
        if asked.path.startswith("/logs") and not _LOGS.fullmatch(asked.path):
            raise Refused(404, "There is no such log")
        if asked.path.startswith("/download_debug"):
            run = asked.path.removeprefix("/download_debug/")
            if not _RUN.fullmatch(run) or not await asyncio.to_thread(self.has_run, run):
                raise Refused(404, "There is no such run")
        return Passed()

    def _graphql(self, asked: Asked, body: bytes, role: str) -> Passed:
        if asked.method == "GET" and asked.wants_html and not asked.query:
            return Passed()  # the page where queries are written
        if asked.method != "POST":
            raise Refused(405, "GraphQL is asked by POST")
        if media_type(asked) != "application/json":
            raise Refused(415, "GraphQL is asked in application/json")
        request = read_request(read_json(body))
        if request.kind == "subscription":
            raise Refused(400, "Subscriptions need a connection that stays open")
        changes = request.kind == "mutation"
        if changes and role != OPERATOR:
            raise Refused(403, "Readers change nothing")
        return Passed(changes, request.body, request.name, request.fields, request.targets, is_graphql=True)

    def judge_message(self, text: str) -> None:
        """Messages of the protocol graphql-ws; a connection serves subscriptions only. Raises Refused."""
        message = read_json(text.encode())
        if message.get("type") not in _MESSAGES or not isinstance(message.get("id", ""), str):
            raise Refused(400, "The message is not of the protocol")
        if message["type"] == "start":
            payload = message.get("payload")
            if not isinstance(payload, dict) or read_request(payload).kind != "subscription":
                raise Refused(403, "An open connection serves subscriptions only")
