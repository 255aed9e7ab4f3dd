"""A page of another site that tries what a page can, against a server on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

from tests.web.attacks import WIPE, graphql, launch

_PAGE = """<!doctype html><title>elsewhere</title><body><script>
const target = "TARGET", wipe = WIPE_JSON, launched = LAUNCH_JSON, byAddress = target + "/graphql?query=WIPE_QUOTED";
const tried = [];
const quietly = async (name, attempt) => { try { await attempt(); } catch (e) {} tried.push(name); };
function add(tag, attributes) {
  return new Promise(done => {
    const one = document.createElement(tag);
    Object.assign(one, attributes);
    one.onload = one.onerror = done;
    setTimeout(done, 3000);
    document.body.append(one);
  });
}
function submit(method, action, fields, encoding) {
  return new Promise(done => {
    const frame = document.createElement("iframe");
    frame.name = "f" + tried.length;
    frame.onload = () => setTimeout(done, 300);
    setTimeout(done, 3000);
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {method, action, target: frame.name, enctype: encoding});
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement("input");
      Object.assign(input, {name, value, type: "hidden"});
      form.append(input);
    }
    document.body.append(form);
    form.submit();
  });
}
async function main() {
  const post = (body, headers, more) => fetch(target + "/graphql", {method: "POST", body, headers, ...more});
  await quietly("image", () => add("img", {src: byAddress}));
  await quietly("script", () => add("script", {src: byAddress}));
  await quietly("style", () => add("link", {rel: "stylesheet", href: byAddress}));
  await quietly("prefetch", () => add("link", {rel: "prefetch", href: byAddress}));
  await quietly("frame", () => add("iframe", {src: byAddress}));
  await quietly("object", () => add("object", {data: byAddress}));
  await quietly("frame of the UI", () => add("iframe", {src: target + "/", id: "framed"}));
  await quietly("fetch by GET", () => fetch(byAddress, {mode: "no-cors", credentials: "include"}));
  await quietly("fetch of JSON", () => post(wipe, {"Content-Type": "application/json"}));
  await quietly("fetch with credentials", () =>
    post(launched, {"Content-Type": "application/json"}, {credentials: "include"}));
  await quietly("fetch of text", () => post(wipe, {"Content-Type": "text/plain"}, {mode: "no-cors"}));
  await quietly("fetch of text that says JSON", () =>
    post(wipe, {"Content-Type": "text/plain; application/json"}, {mode: "no-cors"}));
  await quietly("fetch without a type", () => post(new Blob([wipe]), {}, {mode: "no-cors"}));
  await quietly("query in the address", () => fetch(byAddress, {method: "POST", mode: "no-cors"}));
  await quietly("beacon", () => navigator.sendBeacon(target + "/graphql",
    new Blob([wipe], {type: "text/plain; application/json"})));
  await quietly("kept alive", () => post(wipe, {"Content-Type": "text/plain;application/json"},
    {mode: "no-cors", keepalive: true}));
  await quietly("event that no run made", () =>
    fetch(target + "/report_asset_materialization/first", {method: "POST", mode: "no-cors"}));
  await quietly("form by GET", () => submit("get", target + "/graphql", {query: "WIPE_TEXT"}, ""));
  await quietly("form", () => submit("post", byAddress, {a: "b"}, "application/x-www-form-urlencoded"));
  await quietly("form of parts", () => submit("post", byAddress, {a: "b"}, "multipart/form-data"));
  await quietly("form of text", () => submit("post", target + "/graphql",
    {[wipe.slice(0, -1) + ', "a": "']: '"}'}, "text/plain"));
  await quietly("connection", () => new Promise(done => {
    const socket = new WebSocket(target.replace("http", "ws") + "/graphql", "graphql-ws");
    socket.onopen = () => { socket.send(JSON.stringify({type: "start", id: "1", payload: {query: "WIPE_TEXT"}}));
      setTimeout(done, 500); };
    socket.onerror = socket.onclose = done;
  }));
  await quietly("events", () => new Promise(done => {
    const source = new EventSource(byAddress);
    source.onerror = source.onmessage = () => { source.close(); done(); };
  }));
  await quietly("origin of no site", () => add("iframe", {sandbox: "allow-scripts", srcdoc:
    "<script>fetch('" + target + "/graphql', {method: 'POST', mode: 'no-cors', body: " + JSON.stringify(wipe)
    + ", headers: {'Content-Type': 'text/plain; application/json'}})<\\/script>"}));
  await quietly("registry", () => fetch("REGISTRY/ajax-api/2.0/mlflow/experiments/create", {method: "POST",
    mode: "no-cors", body: JSON.stringify({name: "taken", artifact_location: "file:///etc"})}));
  await quietly("registry by JSON", () => fetch("REGISTRY/ajax-api/2.0/mlflow/experiments/create", {method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({name: "taken", artifact_location: "file:///etc"})}));
  await quietly("file of the registry", () => fetch("REGISTRY/api/2.0/mlflow-artifacts/artifacts/x",
    {method: "PUT", body: "x"}));
  await new Promise(done => setTimeout(done, 500));
  document.title = "done " + tried.length;
}
main();
</script></body>"""


def hostile_page(target: str, registry: str) -> bytes:
    """The page against Dagster at `target` and MLflow at `registry`."""
    text = WIPE.replace('"', '\\"')
    page = _PAGE.replace("WIPE_JSON", _literal(graphql(WIPE))).replace(
        "LAUNCH_JSON", _literal(graphql(launch()))
    )
    page = page.replace("WIPE_QUOTED", quote(WIPE)).replace("WIPE_TEXT", text)
    return page.replace("TARGET", target).replace("REGISTRY", registry).encode()


def _literal(body: bytes) -> str:
    return "String.raw`" + body.decode() + "`"


@contextmanager
def site(page: bytes) -> Iterator[int]:
    """The port of another site on this machine, which answers everything with the page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
