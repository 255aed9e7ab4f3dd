"""A PostgreSQL server of Debian's packages, for one test: its own folder, its own port, never as root."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SERVING = Path(__file__).resolve().parents[2] / "orchestration" / "serving"
PASSWORD = "a secret of this test"


@dataclass(frozen=True)
class Server:
    """Where the server listens, on 127.0.0.1."""

    port: int

    def address(self, database: str) -> str:
        return f"postgresql+psycopg2://sultana@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str) -> Any:
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="sultana", dbname=database, password=PASSWORD
        )
        return contextlib.closing(connection)

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What a query finds, asked of the server itself."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _program(name: str) -> str:
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    return found


@contextlib.contextmanager
def start_postgres() -> Iterator[Server]:
    """A running server with the databases that the compose file makes, by the same statements."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    # pytest's folders are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="sultana-postgres-"))
    account: dict[str, Any] = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "timeout": 600}
    try:
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            account["user"] = (
                "postgres" if "postgres" in {one.pw_name for one in pwd.getpwall()} else "nobody"
            )
            for path in (folder, folder / "password"):
                shutil.chown(path, account["user"])
        data, port = str(folder / "data"), free_port()
        subprocess.run(
            [initdb, "-D", data, "-U", "sultana", "-A", "scram-sha-256", f"--pwfile={folder}/password"],
            **account,
        )
        listen = f"-p {port} -h 127.0.0.1 -k {folder}"
        subprocess.run([pg_ctl, "-D", data, "-w", "-l", f"{folder}/log", "-o", listen, "start"], **account)
        try:
            server = Server(port)
            _make_databases(server)
            yield server
        finally:
            subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], **account)
    finally:
        shutil.rmtree(folder)


def _make_databases(server: Server) -> None:
    with server.connect("postgres") as connection:
        connection.autocommit = True  # PostgreSQL makes no database inside a transaction
        with connection.cursor() as cursor:
            for statement in (SERVING / "databases.sql").read_text().split(";"):
                if statement.strip():
                    cursor.execute(statement)
