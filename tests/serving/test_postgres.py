"""PostgreSQL behind Dagster and MLflow: what is kept is there and nowhere else, and comes back from there."""

from pathlib import Path

import pytest

from resources.definitions import ModelRegistry, Storage
from resources.tracking import InputTable, Tracking
from tests.serving.conftest import Deployment

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracking:
    for name, value in deployment.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # MLflow's default for artifacts is the folder that it is started in
    return ModelRegistry().open(Storage())


def test_runs_and_materializations_are_in_postgresql(deployment: Deployment) -> None:
    events = deployment.server.rows(
        "dagster",
        "SELECT runs.status, count(*) FROM runs JOIN event_logs USING (run_id) WHERE dagster_event_type = "
        """'ASSET_MATERIALIZATION' AND asset_key = '["raw_instructions"]' GROUP BY runs.status""",
    )
    assert events == [("SUCCESS", 1)]
    assert not [path for path in (deployment.data / "dagster").rglob("*.db*")]


def test_another_process_reads_them_and_reuses_what_is_fresh(deployment: Deployment) -> None:
    shown = deployment.sultana("status")
    assert shown.returncode == 0, shown.stderr
    assert any("raw_instructions" in line and "fresh" in line for line in shown.stdout.splitlines())
    again = deployment.sultana("run", "--preset", "smoke", "--to", "raw_instructions")
    assert again.returncode == 0 and "unchanged, reused" in again.stdout + again.stderr


def test_a_model_is_published_to_postgresql_and_read_back(
    registry: Tracking, deployment: Deployment, tmp_path: Path
) -> None:
    files = tmp_path / "adapter"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    published = registry.publish(
        name="served",
        idempotency_key="once",
        files=files,
        parameters={"rank": 8},
        step_metrics=[{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5}],
        inputs=[InputTable("curriculum", "file:///curriculum.lance", 3, "d" * 64, 100)],
        tags={},
        aliases=["candidate"],
    )
    assert deployment.server.rows("mlflow", "SELECT name, version, run_id FROM model_versions") == [
        ("served", 1, published.run_id)
    ]
    assert deployment.server.rows(
        "mlflow", "SELECT step, value FROM metrics WHERE key = 'loss' ORDER BY step"
    ) == [(0, 2.0), (1, 1.5)]
    copy = registry.download("served", 1, tmp_path / "copy")
    assert (copy / "adapter_model.safetensors").read_bytes() == bytes(range(256)) * 40
    stored = list((deployment.data / "mlflow" / "artifacts").rglob("adapter_model.safetensors"))
    assert len(stored) == 1 and not (deployment.data / "mlflow" / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()
    assert registry.aliases("served") == {"candidate": 1} and registry.check() == []


def test_a_wrong_password_is_one_sentence(deployment: Deployment) -> None:
    refused = deployment.sultana("status", PGPASSWORD="not the password")
    assert refused.returncode == 1
    assert "password authentication failed" in refused.stderr and "PGPASSWORD" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_folder_that_began_with_sqlite_is_not_silently_continued_elsewhere(
    deployment: Deployment, tmp_path: Path
) -> None:
    first = deployment.sultana("status", SULTANA_DATA=str(tmp_path), SULTANA_DAGSTER_POSTGRES="")
    assert first.returncode == 0, first.stderr
    refused = deployment.sultana("status", SULTANA_DATA=str(tmp_path))
    assert refused.returncode == 1
    assert "keeps runs and events in SQLite" in refused.stderr
