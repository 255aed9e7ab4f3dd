"""Commands about this machine: `doctor`, `maintain` and `ui`."""

import os
import signal
import sys
from typing import Annotated

import typer

from orchestration.commands.shared import PROBLEM, AsJson, TrackingUri, answer, explained
from resources.definitions import PROJECT, data_folder
from resources.errors import SultanaError

DOCTOR_EXAMPLES = ("sultana doctor", "sultana doctor --json | jq '.problems'")
MAINTAIN_EXAMPLES = (
    "sultana maintain --dry-run",
    "sultana maintain --older-than 90",
    "sultana maintain --json | jq '.freed_bytes'",
)
UI_EXAMPLES = ("sultana ui", "sultana ui --port 3001")
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on this machine.")]


def doctor(port: Port = 3000, as_json: AsJson = False) -> None:
    """Examine installation, machine, data folder, stores and locks; say what is wrong and how to mend it.

    Changes nothing. The exit status is 1 where there is a problem; warnings leave it at 0.
    """
    from orchestration.doctor import examine, show_examination

    with explained(as_json=as_json) as console:
        found = examine(port)
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


def ui(port: Port = 3000) -> None:
    """Start the Dagster web server and daemon on this machine only; Ctrl-C stops them."""
    from orchestration.dead_runs import fail_dead_runs
    from orchestration.instance import open_instance
    from resources.ports import is_free

    workspace = PROJECT / "workspace.yaml"
    with explained() as console:
        if not workspace.exists():
            raise SultanaError(
                f"{workspace} is missing",
                "Run from a checkout of Sultana, installed with `make install`",
                code="checkout-missing",
            )
        if not is_free(port):
            raise SultanaError(
                f"Port {port} is taken, perhaps by a Dagster UI that runs already",
                f"Open http://127.0.0.1:{port}, or take another port: sultana ui --port {port % 65535 + 1}",
                code="port-taken",
            )
        with open_instance(data_folder()) as instance:
            fail_dead_runs(instance)
        os.environ["SULTANA_DATA"] = str(data_folder())
        console.print(f"Dagster UI: http://127.0.0.1:{port}  (Ctrl+C stops it)")
    os.chdir(PROJECT)
    # A shell without job control starts background commands deaf to SIGINT, and Dagster then to SIGTERM too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = ["-m", "dagster", "dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *command, "--log-level", "warning"])
