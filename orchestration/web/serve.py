"""One guarded web server, Dagster's or MLflow's, until it is told to stop.

`sultana ui` starts these; a deployment behind a proxy starts them itself:

    python -m orchestration.web.serve dagster --port 3000 --workspace workspace.yaml
    python -m orchestration.web.serve mlflow --port 5000
"""

import argparse
import ipaddress
import logging
import sys
import time
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from orchestration.console import error as print_error
from orchestration.web.access import Access, access_of
from orchestration.web.audit_log import AuditLog
from orchestration.web.dagster_rules import DagsterRules
from orchestration.web.guard import Guard
from orchestration.web.mlflow_rules import MlflowRules
from orchestration.web.names import Names, names_of
from orchestration.web.rules import Rules
from resources.environment import apply_safe_defaults
from resources.errors import SultanaError
from resources.ports import HOST

_LONGEST_HEAD = 64 * 1024
_LONGEST_MESSAGE = 1024 * 1024
_CONNECTIONS = 200
_CODE_SERVER_SECONDS = 180.0


def _settings(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orchestration.web.serve", description=__doc__)
    parser.add_argument("server", choices=("dagster", "mlflow"))
    parser.add_argument(
        "--host", default=HOST, help="address to listen at; anything but loopback needs a proxy"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prefix", default="", help="path below which a proxy offers it, such as /audit")
    parser.add_argument("--workspace", type=Path, default=Path("workspace.yaml"), help="for Dagster")
    parser.add_argument("--after", type=Path, help="wait for this socket of the code server")
    parser.add_argument("--read-only", action="store_true", help="nobody may change anything")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serves; returns the exit status."""
    apply_safe_defaults()
    settings = _settings(arguments)
    try:
        _serve(settings)
    except SultanaError as error:
        print_error(str(error))
        return 1
    return 0


def _serve(settings: argparse.Namespace) -> None:
    from resources.definitions import data_folder

    names = names_of(settings.port)
    access = access_of(settings.port, read_only=settings.read_only)
    if not _is_loopback(settings.host) and not names.proxied:
        raise SultanaError(
            f"{settings.host} can be reached from other machines, and no name is set that a proxy is reached by",
            f"Listen at {HOST}, or put a proxy with TLS and sign-in in front and set SULTANA_UI_HOSTS to its name",
            code="ui-reachable",
        )
    data = data_folder()
    log = AuditLog(data)
    log.write(
        {
            "event": "started",
            "serves": settings.server,
            "port": settings.port,
            "read_only": settings.read_only,
        }
    )
    (_serve_dagster if settings.server == "dagster" else _serve_mlflow)(settings, data, names, access, log)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _serve_dagster(
    settings: argparse.Namespace, data: Path, names: Names, access: Access, log: AuditLog
) -> None:
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    from orchestration.instance import open_instance
    from orchestration.web.dagster_context import RoleContext

    logging.getLogger("dagster").setLevel(logging.WARNING)
    if settings.after is not None:
        _wait_for(settings.after)
    with open_instance(data) as instance:
        instance.optimize_for_webserver(15000, -1, 20)
        target = WorkspaceFileTarget([str(settings.workspace)])
        with RoleContext(instance, target, read_only=settings.read_only) as context:
            application = create_app_from_workspace_process_context(context, settings.prefix, 2000)
            _run(application, DagsterRules(instance.has_run), settings, names, access, log)


def _wait_for(socket: Path) -> None:
    end = time.monotonic() + _CODE_SERVER_SECONDS
    while not socket.exists():
        if time.monotonic() > end:
            raise SultanaError(
                f"The code server did not start within {_CODE_SERVER_SECONDS:.0f} seconds",
                "What it said stands above; `make lint` loads the definitions as it does",
                code="code-server-late",
            )
        time.sleep(0.05)


def _serve_mlflow(
    settings: argparse.Namespace, data: Path, names: Names, access: Access, log: AuditLog
) -> None:
    from orchestration.web.mlflow_application import mlflow_application

    _run(mlflow_application(data, settings.prefix, names), MlflowRules(), settings, names, access, log)


def _run(
    application: ASGIApp,
    rules: Rules,
    settings: argparse.Namespace,
    names: Names,
    access: Access,
    log: AuditLog,
) -> None:
    behind_proxy = bool(names.proxied)
    guard = Guard(application, rules, names, access, log, prefix=settings.prefix, behind_proxy=behind_proxy)
    uvicorn.run(
        guard,
        host=settings.host,
        port=settings.port,
        http="h11",  # the strict one of the two parsers
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ws_max_size=_LONGEST_MESSAGE,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=5,
        log_level="warning",
        access_log=False,
        server_header=False,
        # What a proxy says of the sender is believed only where there is one.
        proxy_headers=behind_proxy,
        forwarded_allow_ips=HOST if _is_loopback(settings.host) else "*",
    )


if __name__ == "__main__":
    sys.exit(main())
