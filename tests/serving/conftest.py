"""A deployment on PostgreSQL, in which one asset has been materialized from the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.postgres import PASSWORD, Server, start_postgres

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployment:
    """A data folder, the server of its databases, and the environment that the compose file sets."""

    data: Path
    server: Server

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SULTANA_DATA": str(self.data),
            "DAGSTER_HOME": str(self.data / "dagster"),
            "SULTANA_DAGSTER_POSTGRES": self.server.address("dagster"),
            "SULTANA_TRACKING_URI": self.server.address("mlflow"),
            "PGPASSWORD": PASSWORD,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def sultana(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """The command, with variables of the environment changed."""
        return subprocess.run(
            [sys.executable, "-m", "orchestration.cli", *arguments],
            cwd=PROJECT,
            env={**os.environ, **self.settings, **changes},
            capture_output=True,
            text=True,
            timeout=1200,
        )


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    pytest.importorskip("dagster_postgres", reason="needs sultana[serving]: make install")
    with start_postgres() as server:
        made = Deployment(tmp_path_factory.mktemp("deployment") / "data", server)
        run = made.sultana("run", "--preset", "smoke", "--to", "raw_instructions")
        assert run.returncode == 0, run.stdout + run.stderr
        yield made
