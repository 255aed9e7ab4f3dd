"""The command line on a data folder whose tables and artifacts lie in an object store."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from assets.materialized import LINEAGE, materializations
from orchestration.instance import open_instance
from tests.object_store.store import BUCKET, KEY, SECRET, Store

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployment:
    data: Path
    uri: str
    store: Store

    def sultana(
        self, *arguments: str, data: Path | None = None, **changes: str
    ) -> "subprocess.CompletedProcess[str]":
        """The command, with variables of the environment changed."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestration.cli", *arguments],
            cwd=PROJECT,
            env={
                **os.environ,
                **self.store.settings,
                "SULTANA_DATA": str(data or self.data),
                "SULTANA_TABLES_URI": f"{self.uri}/tables",
                "SULTANA_ARTIFACTS_URI": f"{self.uri}/artifacts",
                **changes,
            },
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert SECRET not in done.stdout + done.stderr and KEY not in done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def deployment(
    running_store: Store, tmp_path_factory: pytest.TempPathFactory, models_folder: Path
) -> Iterator[Deployment]:
    data = tmp_path_factory.mktemp("objects") / "data"
    data.mkdir()
    (data / "models").symlink_to(models_folder, target_is_directory=True)
    made = Deployment(data, f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}", running_store)
    done = made.sultana("run", "--preset", "smoke", "--to", "instructions")
    assert done.returncode == 0, done.stdout + done.stderr
    yield made


def assert_no_secret(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and "models" not in path.relative_to(folder).parts:
            content = path.read_bytes()
            assert SECRET.encode() not in content and KEY.encode() not in content, path


def test_assets_are_made_there_and_recorded_with_their_address(deployment: Deployment) -> None:
    assert not list((deployment.data / "lance").glob("*.lance"))
    with open_instance(deployment.data) as instance:
        made = materializations(instance, "instructions")[0]
        event = instance.get_latest_materialization_event(dg.AssetKey("instructions"))
        assert event is not None and event.asset_materialization is not None
        shown = event.asset_materialization.metadata
        assert shown["dagster/uri"].value == f"{deployment.uri}/tables/instructions.lance"
        assert LINEAGE in shown and made.table().rows > 0
    assert_no_secret(deployment.data)


def test_the_doctor_reads_them_and_says_where_the_store_is_when_it_is_gone(deployment: Deployment) -> None:
    whole = deployment.sultana("doctor", "--json")
    findings = json.loads(whole.stdout)
    assert not [one for one in findings_of(findings) if "able" in one["code"] or "object" in one["code"]], (
        findings
    )
    gone = deployment.sultana("doctor", "--json", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    codes = {one["code"] for one in findings_of(json.loads(gone.stdout))}
    assert gone.returncode == 1 and "object-store-unreachable" in codes and "127.0.0.1:9" in gone.stdout


def findings_of(document: object) -> list[dict[str, str]]:
    """Every finding in what the doctor said, at whatever depth."""
    if isinstance(document, dict):
        mine = [document] if {"problem", "code"} <= document.keys() else []
        return mine + [one for value in document.values() for one in findings_of(value)]
    if isinstance(document, list):
        return [one for value in document for one in findings_of(value)]
    return []


def test_what_is_done_with_tables_of_this_machine_only_is_refused_before_it_begins(
    deployment: Deployment,
) -> None:
    before = deployment.store.objects(deployment.uri.removeprefix(f"s3://{BUCKET}/"))
    done = deployment.sultana("retract", "--source", "starter", "--erase", "--reason", "asked for")
    assert done.returncode == 1 and "not-on-object-store" in done.stderr + done.stdout, (
        done.stdout + done.stderr
    )
    assert deployment.store.objects(deployment.uri.removeprefix(f"s3://{BUCKET}/")) == before
    other = deployment.sultana(
        "run", "--preset", "smoke", "--to", "raw_instructions", SULTANA_TABLES_URI=f"{deployment.uri}/x"
    )
    assert other.returncode == 1 and "tables-elsewhere" in other.stdout + other.stderr


def test_a_backup_says_what_is_not_in_it_and_brings_the_log_back(
    deployment: Deployment, tmp_path: Path
) -> None:
    made = deployment.sultana("backup", str(tmp_path / "backups"), "--json")
    assert made.returncode == 0, made.stdout + made.stderr
    missing = " ".join(json.loads(made.stdout)["not_in_it"])
    assert f"{deployment.uri}/tables" in missing
    restored = deployment.sultana("restore", str(tmp_path / "backups"), data=tmp_path / "new")
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert deployment.uri in restored.stdout
    told = deployment.sultana("status", data=tmp_path / "new")
    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(deployment.sultana("doctor", "--json", data=tmp_path / "new").stdout)
    assert "commit-log-behind" not in {one["code"] for one in findings_of(found)}


def test_the_whole_graph_is_made_audited_and_verified_there(deployment: Deployment) -> None:
    done = deployment.sultana("run", "--preset", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    audited = deployment.sultana("audit", "sultana/1", "--verify", "--json")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert json.loads(audited.stdout)["verification"]["sound"]
    kept = deployment.sultana("maintain", "--older-than", "0", "--json")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert deployment.sultana("audit", "sultana/1", "--verify").returncode == 0
    assert not list((deployment.data / "mlflow").rglob("*.safetensors"))
    assert_no_secret(deployment.data)
