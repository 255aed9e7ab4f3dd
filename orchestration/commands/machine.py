"""Commands about this machine: `doctor` and `ui`."""

import os
import signal
import sys
from typing import Annotated

import typer

from orchestration.commands.shared import PROBLEM, AsJson, answer, explained
from resources.definitions import PROJECT, data_folder
from resources.errors import SultanaError

DOCTOR_EXAMPLES = ("sultana doctor", "sultana doctor --json | jq '.problems'")
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


def ui(port: Port = 3000) -> None:
    """Start the Dagster web server and daemon on this machine only; Ctrl-C stops them."""
    from orchestration.dead_runs import fail_dead_runs
    from orchestration.instance import open_instance
    from resources.ports import is_free

    workspace = PROJECT / "workspace.yaml"
    with explained() as console:
        if not workspace.exists():
            raise SultanaError(
                f"{workspace} is missing", "Run from a checkout of Sultana, installed with `make install`"
            )
        if not is_free(port):
            raise SultanaError(
                f"Port {port} is taken, perhaps by a Dagster UI that runs already",
                f"Open http://127.0.0.1:{port}, or take another port: sultana ui --port {port % 65535 + 1}",
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
