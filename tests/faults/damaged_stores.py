"""Damages beside the tables: to locks, what is half written, MLflow's registry and Dagster's instance."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from orchestration.dead_runs import PROCESS_TAG
from orchestration.instance import open_instance
from resources.tracking import Tracking
from tests.faults.scene import MODEL, nothing_job, publish, sql

LONG_AGO = time.time() - 7 * 86_400
LEFT = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute(sys.argv[2])
connection.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


def dead_run(data: Path) -> None:
    with open_instance(data) as instance:
        instance.create_run_for_job(
            nothing_job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "another-boot:1:1"}
        )


def held_place(data: Path) -> None:
    with open_instance(data) as instance:
        run = instance.create_run_for_job(nothing_job, status=dg.DagsterRunStatus.SUCCESS)
        instance.event_log_storage.set_concurrency_slots("device", 1)
        assert instance.event_log_storage.claim_concurrency_slot("device", run.run_id, "step").is_claimed


def half_written(data: Path) -> None:
    for name in (
        "tmp/export-abc/model",
        ".dagster.tmp/x",
        "policies/.partial-x/state",
        "lance/.commits.sqlite.x/y",
        "mlflow/.mlflow.db.x/y",
    ):
        (data / name).parent.mkdir(parents=True)
        (data / name).write_bytes(b"x")
    (data / "lineage").mkdir()
    (data / "lineage" / ".model.json.x.tmp").write_bytes(b"{")
    for path in [*data.glob("tmp/*"), *data.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO))


def lock_is_a_folder(data: Path) -> None:
    path = data / "lance" / ".locks" / "numbers.lock"
    path.unlink()
    path.mkdir()


def lock_without_rights(data: Path) -> None:
    (data / "mlflow" / f".publish-{MODEL}.lock").chmod(0o400)


def lock_is_a_link(data: Path) -> None:
    path = data / ".dagster.lock"
    path.unlink()
    path.symlink_to(data / "nowhere")


def dead_publication(data: Path) -> None:
    from resources import tracking

    files = data / "tmp" / "files"
    files.mkdir(parents=True)
    (files / "adapter_model.safetensors").write_bytes(b"other" * 1000)
    (files / "MLmodel").write_text("flavors: {}\n")
    upload = tracking.upload_model

    def killed(*arguments: object) -> None:
        upload(*arguments)  # type: ignore[arg-type]
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "upload_model", killed)
        with pytest.raises(InterruptedError):
            publish(Tracking(None, data / "mlflow"), files, "second")
    shutil.rmtree(data / "tmp")


def model_without_version(data: Path) -> None:
    dead_publication(data)
    with Tracking(None, data / "mlflow").client() as client:
        experiment = client.get_experiment_by_name("sultana")
        for run in client.search_runs(
            [experiment.experiment_id], filter_string="attributes.status = 'RUNNING'"
        ):
            client.set_terminated(run.info.run_id, "FAILED")


def half_made_registry(data: Path) -> None:
    shutil.rmtree(data / "mlflow" / "artifacts")
    database = data / "mlflow" / "mlflow.db"
    database.unlink()
    sql(database, "CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY)")
    sql(database, "CREATE TABLE alembic_version (version_num VARCHAR(32))")


def empty_registry(data: Path) -> None:
    shutil.rmtree(data / "mlflow")
    (data / "mlflow").mkdir()
    (data / "mlflow" / "mlflow.db").touch()


def half_made_instance(data: Path) -> None:
    shutil.rmtree(data / "dagster")
    (data / "dagster" / "history" / "runs").mkdir(parents=True)
    (data / "dagster" / "history" / "runs.db").touch()


def lost_settings(data: Path) -> None:
    (data / "dagster" / "dagster.yaml").unlink()


def open_folder(data: Path) -> None:
    data.chmod(0o755)


def broken_pages(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    database.write_bytes(content)


def model_file(data: Path) -> Path:
    return next((data / "mlflow" / "artifacts").rglob("adapter_model.safetensors"))


def edited_model(data: Path) -> None:
    model_file(data).write_bytes(b"other" + model_file(data).read_bytes()[5:])


def missing_model_file(data: Path) -> None:
    model_file(data).unlink()


def broken_registry(data: Path) -> None:
    broken_pages(data / "mlflow" / "mlflow.db")


def lost_registry(data: Path) -> None:
    (data / "mlflow" / "mlflow.db").unlink()


def log_without_registry(data: Path) -> None:
    database = data / "mlflow" / "mlflow.db"
    subprocess.run(
        [sys.executable, "-c", LEFT, str(database), "PRAGMA user_version=3"], timeout=60, check=False
    )
    database.unlink()


def broken_instance(data: Path) -> None:
    broken_pages(data / "dagster" / "history" / "runs.db")


def wrong_settings(data: Path) -> None:
    (data / "dagster" / "dagster.yaml").write_text("storage: [")
