"""Requests byte by byte, as no well-behaved client sends them."""

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Headers = Mapping[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """Status (0 where the connection was closed without one), headers by lower-case name, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, path: str, headers: Headers, body: bytes = b"") -> bytes:
    """The bytes of a request; nothing is added to the headers but a missing length of the body."""
    listed = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    names = {name.lower() for name, _ in listed}
    if body and not names & {"content-length", "transfer-encoding"}:
        listed.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in listed)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "surrogateescape") + body


def send(port: int, data: bytes, timeout: float = 60.0) -> Answer:
    """Sends the bytes and reads one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        # It may be refused before all was sent; the answer is there then.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        return _read(connection)


def _read(connection: socket.socket) -> Answer:
    found = b""
    try:
        while b"\r\n\r\n" not in found:
            block = connection.recv(65536)
            if not block:
                return Answer(0, {}, found)
            found += block
        head, _, body = found.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        wanted = int(headers.get("content-length", "-1"))
        while wanted < 0 or len(body) < wanted:
            block = connection.recv(65536)
            if not block:
                break
            body += block
    except ConnectionResetError:
        return Answer(0, {}, found)
    return Answer(int(lines[0].split()[1]), headers, body)
