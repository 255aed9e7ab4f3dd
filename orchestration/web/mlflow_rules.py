"""What MLflow's web server may be asked: to read, and nothing else.

MLflow lets any client set an experiment's `artifact_location` to any folder of the server and then read it, store
files, keep secrets, run an assistant with a shell, and more. Sultana writes to MLflow by its library alone, so that
what its server is needed for is to show.
"""

import re
from dataclasses import dataclass, field

from orchestration.web.asked import Asked, Refused, media_type
from orchestration.web.graphql_requests import read_json, read_request
from orchestration.web.rules import Passed

_API = re.compile(r"/(?:ajax-)?api/[23]\.0/?(mlflow/.*)")
_READ_BY_GET = re.compile(
    r"mlflow/(artifacts/list|experiments/(get|get-by-name|search)|runs/get|metrics/[a-z-]+"
    r"|logged-models/[A-Za-z0-9_-]+(/artifacts/(directories|files))?|model-versions/(get|search)"
    r"|registered-models/(get|search|alias|get-latest-versions)|(unified-)?traces(/.*)?"
    r"|get-(online-)?trace-(artifact|details)|datasets/.*|issues/[A-Za-z0-9_-]+|scorers/[a-z-]+"
    r"|label-schemas/[a-z-]+|review-queues/(get|get-by-name|list|items/list)|server-info|ui-telemetry|workspaces)"
)
_READ_BY_POST = re.compile(
    r"mlflow/(experiments/search|experiments/search-datasets|runs/search|logged-models/search"
    r"|registered-models/get-latest-versions|datasets/search|issues/search"
    r"|traces/(search|metrics|batchGetInfos|calculate-filter-correlation))"
)
_PAGES = re.compile(r"/|/health|/version|/static-files/.*|/build/.*|/favicon.ico")
_FILES = re.compile(r"/get-artifact|/model-versions/get-artifact|.*/artifacts/files|.*/get-trace-artifact")
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self' blob: data:; "
    "media-src 'self' data: blob:; frame-src 'self' blob: data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
# A file of a model may be a page with scripts, which must not run as a page of this server.
_FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


@dataclass
class MlflowRules:
    """Rules for MLflow: its pages, and those of its calls that read."""

    headers: dict[str, str] = field(
        default_factory=lambda: {"Content-Security-Policy": _POLICY, "X-Frame-Options": "SAMEORIGIN"}
    )

    async def judge(self, asked: Asked, body: bytes, role: str) -> Passed:
        """The request where it reads. Raises Refused."""
        if asked.method == "POST":
            return self._search(asked, body)
        if body:
            raise Refused(400, "This request has no body")
        if _FILES.fullmatch(asked.path):
            return Passed(headers=(("Content-Security-Policy", _FILE_POLICY),))
        found = _API.fullmatch(asked.path)
        if not _PAGES.fullmatch(asked.path) and not (found and _READ_BY_GET.fullmatch(found[1])):
            raise Refused(404, "This server only shows, and has nothing at this address")
        return Passed()

    def _search(self, asked: Asked, body: bytes) -> Passed:
        found = _API.fullmatch(asked.path)
        graphql = asked.path == "/graphql"
        if not graphql and not (found and _READ_BY_POST.fullmatch(found[1])):
            raise Refused(
                403, "This server only shows; models are registered, named and removed by Sultana's commands"
            )
        if media_type(asked) != "application/json":
            raise Refused(415, "Requests are made in application/json")
        content = read_json(body)
        if graphql:
            request = read_request(content)
            if request.kind != "query":
                raise Refused(403, "This server only shows")
            return Passed(body=request.body)
        return Passed()

    def judge_message(self, text: str) -> None:
        """Raises Refused: MLflow's pages keep no connection open."""
        raise Refused(403, "This server keeps no connection open")
