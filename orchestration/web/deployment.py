"""What `sultana ui` runs: Dagster's code server and daemon, and the guarded web servers."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from orchestration.web.processes import Service
from resources.definitions import PROJECT

MODULE, LOCATION = "orchestration.definitions", "sultana"


@contextlib.contextmanager
def services_of(port: int, mlflow_port: int | None, *, read_only: bool) -> Iterator[list[Service]]:
    """The services for a UI at `port`, and MLflow's at `mlflow_port` where that is given.

    Web server and daemon share one code server, which listens on a socket in a private folder, as under `dagster dev`.
    """
    # At the end nobody is left whose call the code server would have to wait a minute for.
    os.environ.setdefault("DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD", "5")
    with tempfile.TemporaryDirectory(prefix="sultana-") as folder:
        socket = Path(folder) / "code"
        workspace = Path(folder) / "workspace.yaml"
        target = {"module_name": MODULE, "working_directory": str(PROJECT)}
        server = {"socket": str(socket), "location_name": LOCATION, "additional_metadata": target}
        workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        python = [sys.executable, "-m"]
        code = [
            *python,
            "dagster",
            "code-server",
            "start",
            "--socket",
            str(socket),
            "--location-name",
            LOCATION,
        ]
        code += ["--module-name", MODULE, "--working-directory", str(PROJECT), "--log-level", "warning"]
        daemon = [*python, "dagster._daemon", "run", "-w", str(workspace), "--log-level", "warning"]
        serve = [*python, "orchestration.web.serve"]
        closed = ["--read-only"] if read_only else []
        web = [*serve, "dagster", "--port", str(port), "--workspace", str(workspace)]
        web += ["--after", str(socket), *closed]
        services = [
            Service("code server", code, has_runs=True),
            Service("daemon", daemon, after=socket),
            Service("web server", web),
        ]
        if mlflow_port is not None:
            mlflow = [*serve, "mlflow", "--port", str(mlflow_port)]
            services.append(Service("MLflow server", mlflow))
        yield services
