"""Addresses that are no sources: nothing is opened, fetched or connected to."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assets.instructions.addresses import shown_uri
from assets.instructions.changes import look
from assets.instructions.raw import (
    ReadCounts,
    SourceSpec,
    check_fingerprint,
    read_sources,
    source_fingerprint,
)
from assets.instructions.sources import resolve
from resources.errors import SultanaError
from resources.outward import ALLOWED, allowed_networks, leads_inward

ROW = b'{"prompt": "a", "completion": "b"}\n'

INWARD = [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254",
    "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "metadata.internal.test",
]  # fmt: skip
OTHERS = [
    "local:///etc/hostname", "LOCAL:///etc/hostname", "simplecache::http://127.0.0.1/x", "filecache::file:///etc/hostname",
    "blockcache::https://example.org/x", "zip://a.jsonl::http://127.0.0.1/x.zip", "zip://a.jsonl::file:///tmp/x.zip",
    "tar://a::/tmp/x.tar", "github://owner:name@main/a.jsonl", "git:///tmp/x", "reference://x", "dir:///tmp",
    "ftp://127.0.0.1/a.jsonl", "sftp://127.0.0.1/a.jsonl", "ssh://h/a", "smb://h/a", "webhdfs://h/a", "hdfs://h/a",
    "jupyter://h/a", "dbfs://h/a", "data://text/plain,x", "libarchive://a::b", "gopher://127.0.0.1/", "dask://x",
    "memory://x::http://127.0.0.1", "s3://bucket/a::file:///etc/hostname", "javascript://x", "jar:file://x!/a",
    "generic://x", "asyncwrapper://x", "http+unix://x", "file+http://x/y",
]  # fmt: skip


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every connection that is tried, none of which is made."""
    tried: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            tried.append(address)
            raise ConnectionRefusedError("no connection in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    real = socket.getaddrinfo

    def named(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host == "metadata.internal.test":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]
        return real(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", named)
    return tried


@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
@pytest.mark.parametrize("host", INWARD)
def test_no_connection_leads_inward(
    host: str, scheme: str, tmp_path: Path, connections: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    for act in (
        lambda uri: resolve(uri, downloads=tmp_path),
        lambda uri: look([SourceSpec("web", uri)]),
    ):
        with pytest.raises(SultanaError) as caught:
            act(f"{scheme}://{host}/latest/meta-data/a.jsonl")
        # Numbers in other notations the client takes for no address at all.
        assert caught.value.code in ("address-leads-inward", "source-unreachable")
    if host in ("127.0.0.1", "localhost", "169.254.169.254", "metadata.internal.test", "10.0.0.1"):
        assert caught.value.code == "address-leads-inward"
    assert connections == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", OTHERS)
def test_no_other_scheme_is_opened(uri: str, tmp_path: Path, connections: list[Any]) -> None:
    with pytest.raises(SultanaError) as caught:
        resolve(uri, downloads=tmp_path)
    assert caught.value.code in ("address-not-allowed", "source-not-found")
    assert connections == [] and list(tmp_path.iterdir()) == []


class _Server(BaseHTTPRequestHandler):
    """Answers /a.jsonl with a row, and /to?ADDRESS with a redirect there."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(ROW)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(ROW)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    _Server.asked.clear()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()


def test_a_server_that_is_allowed_is_read_and_one_that_it_sends_to_is_not(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED, "127.0.0.1/32, 10.1.0.0/16")
    rows = list(read_sources([SourceSpec("web", f"http://{server}/a.jsonl")]))
    assert [row["problem"] for row in rows] == [None]
    for there in ("http://127.0.0.2/a.jsonl", "http://169.254.169.254/latest/", "http://0.0.0.0/"):
        with pytest.raises(SultanaError, match="leads to this machine or its network"):
            list(read_sources([SourceSpec("web", f"http://{server}/to?{there}")]))
    for there in ("file:///etc/hostname", "ftp://127.0.0.1/a", "http://[::1]/a.jsonl"):
        with pytest.raises(SultanaError, match="cannot be read"):
            list(read_sources([SourceSpec("web", f"http://{server}/to?{there}")]))


def test_nothing_arrives_at_a_server_of_this_machine(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    for host in ("127.0.0.1", "localhost", "2130706433", "0", "127.1"):
        with pytest.raises(SultanaError):
            list(read_sources([SourceSpec("web", f"http://{host}:{server.partition(':')[2]}/a.jsonl")]))
    assert _Server.asked == []


@pytest.mark.parametrize(
    ("address", "inward"),
    [("8.8.8.8", False), ("2606:4700::1111", False), ("64:ff9b::808:808", False), ("::ffff:8.8.8.8", False),
     ("127.0.0.1", True), ("::ffff:10.0.0.1", True), ("fe80::1%eth0", True), ("::", True), ("2002:a00:1::", True),
     ("198.18.0.1", True), ("240.0.0.1", True), ("ff02::1", True)],
)  # fmt: skip
def test_what_leads_inward(address: str, inward: bool) -> None:
    assert leads_inward(address) is inward


def test_allowed_networks_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "10.0.0.0/8,192.168.1.7")
    assert not leads_inward("10.9.9.9", allowed_networks()) and leads_inward(
        "192.168.1.8", allowed_networks()
    )
    monkeypatch.setenv(ALLOWED, "everything")
    with pytest.raises(SultanaError, match=ALLOWED):
        allowed_networks()


@pytest.mark.parametrize(
    "uri",
    ["a\0b", "a\0*", "x" * 5_000, "é" * 2_100, "\ud800", "a\udcff", "~nobody-of-this-name/a", "http://[x/a", "http://",
     "https:///x", "http://h:99999999/a", "/proc/self/environ", "/proc/self/mem", "/sys/kernel/uevent_helper",
     "/dev/null", "/dev/zero", "/dev/stdin", "**/**/**/*.jsonl", "file://", "file://\0", "a\nb", "../" * 400 + "x",
     "hf://", "hf://datasets/a", "hf://datasets/../b", "hf://datasets/a/b@../c", "hf://datasets/a/b@%2e%2e%2fc",
     "hf://datasets/a/b@-x", "hf://datasets/a/b@c//d", "hf://datasets/a/b@\n", "hf://models/a/b", "hf://datasets/a/b\0"],
)  # fmt: skip
def test_odd_addresses_are_one_sentence(uri: str, tmp_path: Path, connections: list[Any]) -> None:
    for act in (lambda: resolve(uri, downloads=tmp_path), lambda: look([SourceSpec("one", uri)])):
        with pytest.raises(SultanaError) as caught:
            act()
        assert str(caught.value).isprintable() and len(str(caught.value)) < 900
    assert shown_uri(uri).isprintable()
    assert connections == []


def test_links_that_lead_out_are_refused_however_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(ROW)
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.jsonl").symlink_to(tmp_path / "secret.jsonl")
    for address in (folder, folder / "**" / "*.jsonl", folder / "deep" / "*"):
        with pytest.raises(SultanaError, match="leads out of the source's folder"):
            resolve(str(address), downloads=tmp_path)
    (folder / "deep" / "a.jsonl").unlink()
    (folder / "deep" / "a.jsonl").symlink_to(folder / "deep" / "a.jsonl")
    with pytest.raises(SultanaError):
        resolve(str(folder), downloads=tmp_path)
    (folder / "deep" / "a.jsonl").unlink()
    (folder / "out").symlink_to("/")
    with pytest.raises(SultanaError, match="leads out of the source's folder"):
        resolve(str(folder), downloads=tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nothing")])
def test_a_folder_is_read_whole_or_not_at_all(make: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(ROW)
    make(tmp_path / "b.jsonl")
    for address in (tmp_path, tmp_path / "*.jsonl"):
        with pytest.raises(SultanaError, match="not a regular file"):
            resolve(str(address), downloads=tmp_path)


def test_a_folder_that_cannot_be_looked_into_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(ROW)
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(SultanaError, match="closed cannot be read: Permission denied"):
        resolve(str(tmp_path), downloads=tmp_path)


@pytest.mark.parametrize(
    "change", ["grows", "shrinks", "is replaced", "disappears", "keeps its size and times"]
)
def test_a_file_that_changes_after_it_was_hashed_is_noticed(tmp_path: Path, change: str) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(ROW * 3_000)
    path = tmp_path / "b.jsonl"
    before = path.stat()
    rows = read_sources([SourceSpec("here", str(tmp_path))])
    next(rows)  # both files are hashed, the second is not open yet
    match change:
        case "grows":
            path.write_bytes(ROW * 3_001)
        case "shrinks":
            os.truncate(path, 100)
        case "is replaced":
            (tmp_path / "c").write_bytes(ROW * 3_000)
            (tmp_path / "c").replace(path)
        case "disappears":
            path.unlink()
        case _:
            path.write_bytes(ROW.replace(b"a", b"c") * 3_000)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SultanaError, match="b.jsonl of the source 'here' changed while it was read"):
        list(rows)


@pytest.mark.parametrize(
    "named",
    ["https://169.254.169.254/latest/a.jsonl", "http://127.0.0.1/*.parquet", "file:///etc/*", "/etc/*.conf",
     "../x.jsonl", "zip://*.jsonl::http://127.0.0.1/x", "hf://datasets/other/one/*", "~/x.jsonl", "simplecache::x"],
)  # fmt: skip
@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_the_card_of_a_dataset_names_its_own_files_only(
    named: str, card: str, tmp_path: Path, connections: list[Any]
) -> None:
    root = tmp_path / "mirror" / "acme" / "chat"
    root.mkdir(parents=True)
    (root / "train.jsonl").write_bytes(ROW)
    text = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: ['{named}']\n"
    (root / card).write_text(text if card.endswith("yaml") else f"---\n{text}---\n")
    spec = SourceSpec("hub", "hf://datasets/acme/chat", hub_mirror=str(tmp_path / "mirror"))
    with pytest.raises(SultanaError, match="is no file of its own"):
        list(read_sources([spec]))
    assert connections == []


def test_what_is_recorded_as_read_is_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(ROW)
    spec = SourceSpec("here", str(tmp_path / "a.jsonl"))
    fingerprint = source_fingerprint([spec])
    counts = ReadCounts()
    assert len(list(read_sources([spec], counts=counts))) == 1
    check_fingerprint(fingerprint, counts)
    (tmp_path / "a.jsonl").write_bytes(ROW * 2)
    counts = ReadCounts()
    assert len(list(read_sources([spec], counts=counts))) == 2
    with pytest.raises(SultanaError, match="changed between being looked at and being read"):
        check_fingerprint(fingerprint, counts)
