"""Requests that want to change something at Dagster's web server, or to break it, and may do neither."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from tests.web.raw import request

WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["first"]}}]) { __typename } }'
ELSEWHERE = "http://elsewhere.example"


@dataclass(frozen=True)
class Target:
    """The server's port and a run that exists."""

    port: int
    run: str

    @property
    def host(self) -> dict[str, str]:
        return {"Host": f"127.0.0.1:{self.port}"}


Make = Callable[[Target], bytes]


def launch() -> str:
    selector = (
        '{repositoryLocationName: "small", repositoryName: "__repository__", pipelineName: "make_first"}'
    )
    return f'mutation {{ launchRun(executionParams: {{selector: {selector}, mode: "default"}}) {{ __typename }} }}'


def graphql(query: str, **more: object) -> bytes:
    return json.dumps({"query": query, **more}).encode()


def delete(run: str) -> str:
    return f'mutation {{ deleteRun(runId: "{run}") {{ __typename }} }}'


def _post(
    body: bytes,
    kind: str | None = "application/json",
    path: str = "/graphql",
    method: str = "POST",
    **headers: str,
) -> Make:
    def make(target: Target) -> bytes:
        found = {**target.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if kind is not None:
            found["Content-Type"] = kind
        return request(method, path, found, body)

    return make


def _get(path: str, method: str = "GET", **headers: str) -> Make:
    def make(target: Target) -> bytes:
        asked = path.replace("RUN", target.run)
        return request(method, asked, {**target.host, **{n.replace("_", "-"): v for n, v in headers.items()}})

    return make


def _host(name: str) -> Make:
    def make(target: Target) -> bytes:
        headers = {"Host": name.replace("PORT", str(target.port)), "Content-Type": "application/json"}
        return request("POST", "/graphql", headers, graphql(delete(target.run)))

    return make


def _own(make: Callable[[Target], bytes]) -> Make:
    return make


def _smuggled(target: Target) -> bytes:
    """A second request in the body of the first, whose length is said in two ways."""
    inner = request("POST", "/graphql", {**target.host, "Content-Type": "application/json"}, graphql(WIPE))
    headers = {**target.host, "Content-Length": str(len(inner) + 5), "Transfer-Encoding": "chunked"}
    return request("POST", "/graphql", headers, b"0\r\n\r\n" + inner)


def _two_hosts(target: Target) -> bytes:
    headers = [("Host", f"127.0.0.1:{target.port}"), ("Host", "elsewhere.example")]
    return request("POST", "/graphql", [*headers, ("Content-Type", "application/json")], graphql(WIPE))


def _two_lengths(target: Target) -> bytes:
    body = graphql(WIPE)
    lengths = [("Content-Length", "4"), ("Content-Length", str(len(body)))]
    headers = [*target.host.items(), ("Content-Type", "application/json"), *lengths]
    return request("POST", "/graphql", headers, body)


def _two_types(target: Target) -> bytes:
    headers = [*target.host.items(), ("Content-Type", "text/plain"), ("Content-Type", "application/json")]
    return request("POST", "/graphql", headers, graphql(WIPE))


def _absolute(target: Target) -> bytes:
    headers = {"Host": "elsewhere.example", "Content-Type": "application/json"}
    return request("POST", f"http://127.0.0.1:{target.port}/graphql", headers, graphql(WIPE))


def _folded(target: Target) -> bytes:
    headers = {"Host": f"{target.host['Host']}\r\n elsewhere.example", "Content-Type": "application/json"}
    return request("POST", "/graphql", headers, graphql(WIPE))


def _bare_line_feeds(target: Target) -> bytes:
    body = graphql(WIPE)
    kind, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
    return f"POST /graphql HTTP/1.1\nHost: elsewhere.example\n{kind}\n{length}\n\n".encode() + body


def _websocket(path: str, origin: str | None, host: str | None = None) -> Make:
    def make(target: Target) -> bytes:
        headers = {
            "Host": host or target.host["Host"],
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "graphql-ws",
        }
        return request("GET", path, headers | ({"Origin": origin} if origin else {}))

    return make


FORM = "application/x-www-form-urlencoded"
ATTACKS: dict[str, Make] = {
    # Names: the page's own name was made to point here.
    "host of another site": _host("elsewhere.example"),
    "host of another site with the port": _host("elsewhere.example:PORT"),
    "host that begins like this machine's": _host("127.0.0.1.elsewhere.example:PORT"),
    "host that ends like this machine's": _host("elsewhere.localhost:PORT"),
    "host of every address": _host("0.0.0.0:PORT"),
    "host of this machine at another port": _host("127.0.0.1:1"),
    "host as a number": _host("2130706433:PORT"),
    "host with a user": _host("127.0.0.1@elsewhere.example"),
    "host with a comma": _host("127.0.0.1:PORT, elsewhere.example"),
    "empty host": _host(""),
    "two hosts": _two_hosts,
    "absolute address": _absolute,
    # Senders: a page of another site.
    "origin of another site": _post(graphql(WIPE), Origin=ELSEWHERE),
    "origin of no site": _post(graphql(WIPE), Origin="null"),
    "origin of this machine at another port": _post(graphql(WIPE), Origin="http://127.0.0.1:1"),
    "origin that begins like this machine's": _post(
        graphql(WIPE), Origin="http://127.0.0.1.elsewhere.example"
    ),
    "two origins": _post(graphql(WIPE), Origin=f"http://127.0.0.1 {ELSEWHERE}"),
    "fetch from another site": _post(graphql(WIPE), Sec_Fetch_Site="cross-site"),
    "fetch from another port of this machine": _post(graphql(WIPE), Sec_Fetch_Site="same-site"),
    "preflight": _get("/graphql", "OPTIONS", Origin=ELSEWHERE, Access_Control_Request_Method="POST"),
    "forwarded host": _post(graphql(WIPE), Origin=ELSEWHERE, X_Forwarded_Host="elsewhere.example"),
    # Mutations by what an image, a link or a form sends.
    "mutation by GET": _get(f"/graphql?query={quote(WIPE)}"),
    "mutation by GET of a browser": _get(f"/graphql?query={quote(WIPE)}", Accept="text/html"),
    "mutation by GET with a slash": _get(f"/graphql/?query={quote(WIPE)}"),
    "mutation by GET from an image": _get(
        f"/graphql?query={quote(WIPE)}",
        Sec_Fetch_Site="cross-site",
        Sec_Fetch_Dest="image",
        Sec_Fetch_Mode="no-cors",
    ),
    "launch by GET": _own(lambda target: _get(f"/graphql?query={quote(launch())}")(target)),
    "deletion by GET": _own(lambda target: _get(f"/graphql?query={quote(delete(target.run))}")(target)),
    "mutation by HEAD": _get(f"/graphql?query={quote(WIPE)}", "HEAD"),
    "mutation by PUT": _post(graphql(WIPE), method="PUT"),
    "mutation by PATCH": _post(graphql(WIPE), method="PATCH"),
    "mutation by DELETE": _post(graphql(WIPE), method="DELETE"),
    "mutation by TRACE": _post(graphql(WIPE), method="TRACE"),
    "method override": _get(f"/graphql?query={quote(WIPE)}", X_HTTP_Method_Override="POST"),
    "form": _post(f"query={quote(WIPE)}".encode(), FORM),
    "form with the query in the address": _post(b"a=1", FORM, path=f"/graphql?query={quote(WIPE)}"),
    "form of parts": _post(
        b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", path=f"/graphql?query={quote(WIPE)}"
    ),
    "plain text": _post(graphql(WIPE), "text/plain"),
    "plain text that says JSON": _post(graphql(WIPE), "text/plain; application/json"),
    "query as its own type": _post(WIPE.encode(), "application/graphql"),
    "no type": _post(graphql(WIPE), None),
    "no type, query in the address": _post(b"", None, path=f"/graphql?query={quote(WIPE)}"),
    "two types": _two_types,
    # Bodies.
    "batch": _post(b"[" + graphql(WIPE) + b"," + graphql(WIPE) + b"]"),
    "null": _post(b"null"),
    "list of a number": _post(b"[1]"),
    "query that is a number": _post(b'{"query": 123}'),
    "query that is missing": _post(b"{}"),
    "variables that are a text": _post(graphql("{ version }", variables="x")),
    "variables that are a list": _post(graphql("{ version }", variables=[1])),
    "operation that is a number": _post(graphql("{ version }", operationName=5)),
    "operation that is not there": _post(graphql("query a { version }", operationName="b")),
    "two operations without a name": _post(graphql("query a { version } " + WIPE)),
    "not UTF-8": _post(b'{"query": "\xff\xfe"}'),
    "half a surrogate": _post(b'{"query": "\\ud800"}'),
    "UTF-16": _post(graphql(WIPE).decode().encode("utf-16")),
    "not a number": _post(b'{"query": "{ version }", "variables": {"a": NaN}}'),
    "cut off": _post(graphql(WIPE)[:-4]),
    "empty": _post(b""),
    "nested JSON": _post(b'{"query": ' + b"[" * 100_000),
    "nested query": _post(graphql("{ a " * 20_000 + "}" * 20_000)),
    "many tokens": _post(graphql("{ " + "version " * 30_000 + "}")),
    "subscription by POST": _post(graphql("subscription { locationStateChangeEvents { __typename } }")),
    "unknown mutation": _post(graphql("mutation { everything }")),
    "circle of fragments": _post(
        graphql("query { ...a } fragment a on Query { ...b } fragment b on Query { ...a }")
    ),
    "large": _post(b'{"query": "' + b" " * (5 << 20) + b'"}'),
    "large, as is only said": _post(b"{}", Content_Length=str(1 << 40)),
    "negative length": _post(b"{}", Content_Length="-1"),
    "length that is no number": _post(b"{}", Content_Length="1e3"),
    # The form of requests.
    "second request inside": _smuggled,
    "two lengths": _two_lengths,
    "folded host": _folded,
    "bare line feeds": _bare_line_feeds,
    "long header": _get("/", X="a" * 200_000),
    "long address": _get("/" + "a" * 30_000 + "?" + "b" * 20_000),
    # Paths.
    "climbing path": _get("/logs/../../../../etc/passwd.out"),
    "climbing path, encoded": _get("/logs/%2e%2e/%2e%2e/%2e%2e/etc/passwd.out"),
    "climbing path, encoded twice": _get("/logs/%252e%252e/%252e%252e/etc/passwd.out"),
    "climbing path, backslashes": _get("/logs/..%5c..%5cetc%5cpasswd.out"),
    "climbing among files": _get("/static/../../../../../../etc/passwd"),
    "path with a null": _get("/logs/a%00/b.out"),
    "two slashes": _get("//elsewhere.example/"),
    "log of another kind": _get("/logs/RUN/compute_logs/x.txt"),
    "log with one part": _get("/logs/x"),
    "debug file of no run": _get("/download_debug/00000000-0000-0000-0000-000000000000"),
    "debug file of no id": _get("/download_debug/x"),
    "notebook": _get("/notebook?path=/etc/passwd.ipynb&repoLocName=small"),
    "notebook at its old place": _get("/dagit/notebook?path=/etc/passwd.ipynb&repoLocName=small"),
    "event that no run made": _post(b"{}", path="/report_asset_materialization/first"),
    "event without a body": _post(b"", None, path="/report_asset_materialization/first"),
    "check that no run made": _post(b'{"check_name": "x", "passed": true}', path="/report_asset_check/first"),
    "observation that no run made": _post(b"{}", path="/report_asset_observation/first"),
    # Connections that stay open.
    "connection from another site": _websocket("/graphql", ELSEWHERE),
    "connection from no site": _websocket("/graphql", "null"),
    "connection by another name": _websocket("/graphql", None, "elsewhere.example"),
    "connection from another port": _websocket("/graphql", "http://127.0.0.1:1"),
}
MESSAGES: dict[str, str] = {
    "mutation": json.dumps({"type": "start", "id": "1", "payload": {"query": WIPE}}),
    "query": json.dumps({"type": "start", "id": "1", "payload": {"query": "{ version }"}}),
    "no payload": json.dumps({"type": "start", "id": "1"}),
    "payload that is a text": json.dumps({"type": "start", "id": "1", "payload": "x"}),
    "query that is a number": json.dumps({"type": "start", "id": "1", "payload": {"query": 5}}),
    "unknown type": json.dumps({"type": "everything"}),
    "no JSON": "{",
    "a list": "[1]",
    "nested": "[" * 100_000,
    "id that is a list": json.dumps({"type": "stop", "id": []}),
}


def requests(target: Target) -> Iterator[tuple[str, bytes]]:
    """Each attack's name and bytes."""
    for name, make in ATTACKS.items():
        yield name, make(target)
