"""Commands about this machine: `doctor`, `maintain` and `ui`."""

import os
from typing import Annotated

import typer

from orchestration.commands.shared import PROBLEM, AsJson, TrackingUri, answer, explained
from resources.definitions import PROJECT, data_folder
from resources.errors import SultanaError

DOCTOR_EXAMPLES = ("sultana doctor", "sultana doctor --repair", "sultana doctor --json | jq '.problems'")
MAINTAIN_EXAMPLES = (
    "sultana maintain --dry-run",
    "sultana maintain --older-than 90",
    "sultana maintain --json | jq '.freed_bytes'",
)
UI_EXAMPLES = (
    "sultana ui",
    "sultana ui --port 3001",
    "sultana ui --mlflow-port 5000",
    "sultana ui --read-only",
)
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on this machine.")]


def doctor(
    port: Port = 3000,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend what can be mended without touching anything acknowledged."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine installation, machine, data folder, stores and locks; say what is wrong and how to mend it.

    Without --repair nothing is changed, and what it would do is told. The exit status is 1 where there is a problem;
    warnings leave it at 0.
    """
    from orchestration.doctor import examine, show_examination
    from orchestration.repairing import repair as mend

    with explained(as_json=as_json) as console:
        found = mend(port) if repair else examine(port)
        if not as_json:
            show_examination(found, console)
    answer(found, as_json)
    if found["problems"]:
        raise typer.Exit(PROBLEM)


def maintain(
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help="Younger versions stay. [default: SULTANA_RETENTION_DAYS, else 30]",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Also write tables of many small files anew, as new versions.")
    ] = False,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Remove versions of tables that nothing depends on, and say what that freed.

    What a registered model, the newest of an asset or a promotion depends on always stays. Refused while a run is in
    progress.
    """
    from orchestration.maintenance import maintain as maintain_tables
    from orchestration.maintenance import show_maintenance

    with explained(as_json=as_json) as console:
        found = maintain_tables(
            older_than=older_than, dry_run=dry_run, compact=compact, tracking_uri=tracking_uri
        )
        if not as_json:
            show_maintenance(found, console)
    answer(found, as_json)


def ui(
    port: Port = 3000,
    mlflow_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Open MLflow's UI as well, at this port.", show_default=False),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Nobody can start, change or delete anything in the UI.")
    ] = False,
) -> None:
    """Start the Dagster web server and daemon on this machine only; Ctrl-C stops them.

    Only pages of the UI itself can use it. With SULTANA_UI_TOKEN set it asks for that token; SULTANA_UI_READ_TOKEN is
    for those who may only look. What was changed stands in ui/audit.jsonl of the data folder.
    """
    from orchestration.dead_runs import fail_dead_runs
    from orchestration.instance import open_instance
    from orchestration.web.access import access_of
    from orchestration.web.deployment import services_of
    from orchestration.web.names import names_of
    from orchestration.web.processes import keep_running

    with explained() as console:
        if not (PROJECT / "workspace.yaml").exists():
            raise SultanaError(
                f"{PROJECT / 'workspace.yaml'} is missing",
                "Run from a checkout of Sultana, installed with `make install`",
                code="checkout-missing",
            )
        _check_ports(port, mlflow_port)
        asks_for_token = bool(access_of(port, read_only=read_only).tokens)
        names_of(port)
        with open_instance(data_folder()) as instance:
            fail_dead_runs(instance, restarted=True)
        os.environ["SULTANA_DATA"] = str(data_folder())
        os.chdir(PROJECT)
        console.print(f"Dagster UI: http://127.0.0.1:{port}  (Ctrl+C stops it)")
        if mlflow_port is not None:
            console.print(f"MLflow UI:  http://127.0.0.1:{mlflow_port}")
        if asks_for_token:
            console.print("It asks for the token that SULTANA_UI_TOKEN or SULTANA_UI_READ_TOKEN holds.")
        with services_of(port, mlflow_port, read_only=read_only) as services:
            keep_running(services, console.print)


def _check_ports(port: int, mlflow_port: int | None) -> None:
    """Raises SultanaError where a port is taken."""
    from resources.ports import is_free

    if port == mlflow_port:
        raise SultanaError(
            f"Dagster's UI and MLflow's would both be at port {port}",
            f"Take another: sultana ui --port {port} --mlflow-port {port % 65535 + 1}",
            code="ui-ports-equal",
        )
    for one, option in ((port, "--port"), (mlflow_port, "--mlflow-port")):
        if one is not None and not is_free(one):
            raise SultanaError(
                f"Port {one} is taken, perhaps by a UI that runs already",
                f"Open http://127.0.0.1:{one}, or take another port: sultana ui {option} {one % 65535 + 1}",
                code="port-taken",
            )
