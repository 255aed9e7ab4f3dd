"""What processes open to the outside: sockets that Python opens, by an audit hook, and all others, by looking often."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import psutil

_HOOK = """
import os, sys
_log = os.environ.get("SOCKET_LOG")
def _note(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        where = arguments[0] if event.startswith("socket.get") else arguments[1]
        line = f"{event} {where!r}\\n".encode()
        handle = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, line)
        os.close(handle)
if _log:
    sys.addaudithook(_note)
"""


@dataclass
class Seen:
    """Addresses that processes listened at and were connected with, and what the audit hook noted."""

    log: Path
    listened: set[tuple[str, int]] = field(default_factory=set)
    connected: set[str] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)

    def noted(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def outward(self) -> list[str]:
        """What was sent or asked beyond this machine."""
        found = [f"connected {one}" for one in self.connected if not ip_address(one).is_loopback]
        for line in self.noted():
            event, _, where = line.partition(" ")
            # A path is a socket of this machine; ("127.0.0.1", 1) and the like are addresses.
            here = (
                "'127.",
                "('127.",
                "('::1'",
                "'localhost'",
                "('localhost'",
                "'/",
                "b'/",
                "''",
                "b'\\\\x00",
                "('', ",
            )
            if event != "socket.bind" and not where.startswith(here) and where != "None":
                found.append(line)
        return found


def hook_folder(folder: Path) -> dict[str, str]:
    """Environment variables by which every Python process below notes its sockets."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_HOOK)
    return {"PYTHONPATH": str(folder), "SOCKET_LOG": str(folder / "sockets")}


@contextmanager
def watched(log: Path, roots: list[int]) -> Iterator[Seen]:
    """Looks at the sockets of the processes `roots` (to which more may be added) and all below them, ten times a
    second until the end of the block."""
    seen, over = Seen(log), threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            for root in list(roots):
                try:
                    family = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
                except psutil.NoSuchProcess:
                    continue
                for one in family:
                    _look_at(one, seen)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _look_at(process: psutil.Process, seen: Seen) -> None:
    try:
        sockets = process.net_connections(kind="inet")
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return
    seen.processes.add(process.pid)
    for one in sockets:
        if one.status == psutil.CONN_LISTEN or (not one.raddr and one.type == 2):
            seen.listened.add((one.laddr.ip, one.laddr.port))
        elif one.raddr:
            seen.connected.add(one.raddr.ip)
