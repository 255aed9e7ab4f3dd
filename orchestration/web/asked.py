"""A request as the guard sees it, and the refusal of one."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.types import Scope

MAXIMUM_QUERY = 16 * 1024
_SINGLE = ("host", "origin", "content-type", "content-length", "authorization", "transfer-encoding")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class Refused(Exception):
    """A request that is not passed on. `status` is the HTTP status from 400 to 499, or 507 on a full disk."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Asked:
    """Method, path without the server's prefix, query string, headers by lower-case name, and the sender's address."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    remote: str

    @property
    def is_page(self) -> bool:
        """Whether a browser opens it as a page of its own, as against an image, a script or a frame."""
        told = (
            "sec-fetch-site" in self.headers
        )  # browsers then tell the other two as well; old ones tell none
        return (
            self.method in ("GET", "HEAD")
            and self.headers.get("sec-fetch-mode", "" if told else "navigate") == "navigate"
            and self.headers.get("sec-fetch-dest", "" if told else "document") == "document"
        )

    @property
    def wants_html(self) -> bool:
        """Whether a page is among the answers that the sender can read."""
        return "text/html" in self.headers.get("accept", "")


def read_asked(scope: Scope, prefix: str) -> Asked:
    """The request of an ASGI scope of type http or websocket. Raises Refused where its form is not plain."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in headers and key in _SINGLE:
            raise Refused(400, f"The header {key} is there twice")
        headers[key] = value.decode("latin-1")
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Refused(400, "The length of the body is said in two ways")
    client = scope.get("client") or ("unknown", 0)
    path = _plain_path(scope)
    query = scope.get("query_string", b"").decode("latin-1")
    if len(query) > MAXIMUM_QUERY:
        raise Refused(414, "The address is too long")
    if prefix and path != prefix and not path.startswith(f"{prefix}/") and path != "/":
        raise Refused(404, "There is nothing at this address")
    return Asked(
        method=scope.get("method", "GET"),
        path=path.removeprefix(prefix) or "/",
        query=query,
        headers=headers,
        remote=str(client[0]),
    )


def _plain_path(scope: Scope) -> str:
    """The path, decoded once; raises Refused where it climbs, or could be read in two ways."""
    path = str(scope["path"])
    if not path.startswith("/") or path.startswith("//") or _CONTROL.search(path):
        raise Refused(400, "The path is not plain")
    # Once more, because what stands behind may decode what was encoded twice.
    if any(part in (".", "..") for part in (*path.split("/"), *re.split(r"[/\\]", unquote(path)))):
        raise Refused(400, "The path is not plain")
    return path


def media_type(asked: Asked) -> str:
    """The media type of the body, without parameters, in lower case; empty where none is said."""
    return asked.headers.get("content-type", "").partition(";")[0].strip().lower()
