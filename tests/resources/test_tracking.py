import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.errors import SultanaError
from resources.model_flavor import MODEL_META
from resources.tracking import InputTable, PublishedModel, Tracking

ROOT = Path(__file__).parents[2]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "state").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "state" / "optimizer.safetensors").write_bytes(b"state")
    (folder / "MLmodel").write_text("flavors: {}\n")  # with one, MLflow adds a file where it loads the model
    return folder


def publish(tracking: Tracking, files: Path, key: str = "k", **changes: Any) -> PublishedModel:
    arguments: dict[str, Any] = {
        "name": "sultana-raise",
        "parameters": {"rank": 8, "target_modules": ["q", "v"], "model": "embedded"},
        "step_metrics": [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5, "learning_rate": 1e-4}],
        "inputs": [InputTable("curriculum", "file:///store/curriculum.lance", 3, "d" * 64, 100)],
        "tags": {"dagster/run_id": "run-1"},
        "aliases": ["candidate"],
    }
    return tracking.publish(idempotency_key=key, files=files, **{**arguments, **changes})


def test_a_version_holds_files_metrics_inputs_and_resolves_by_its_address(
    tracking: Tracking, adapter: Path
) -> None:
    import mlflow

    published = publish(tracking, adapter)
    assert (published.model_name, published.version) == ("sultana-raise", 1)
    for address in ("models:/sultana-raise/1", "models:/sultana-raise@candidate"):
        stored = Path(mlflow.artifacts.download_artifacts(address))
        assert (stored / "adapter_model.safetensors").read_bytes() == bytes(range(256)) * 40
        assert sorted(json.loads((stored / "MANIFEST.json").read_bytes())["files"]) == [
            "MLmodel",
            "adapter_model.safetensors",
            "state/optimizer.safetensors",
        ]
    assert tracking.folder in stored.parents
    with tracking.client() as client:
        run = client.get_run(published.run_id)
        losses = client.get_metric_history(published.run_id, "loss")
        version = client.get_model_version("sultana-raise", "1")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"rank": "8", "target_modules": '["q", "v"]', "model": "embedded"}
    assert [(point.step, point.value) for point in losses] == [(0, 2.0), (1, 1.5)]
    source = json.loads(run.inputs.dataset_inputs[0].dataset.source)
    assert source == {"uri": "file:///store/curriculum.lance", "version": 3, "digest": "d" * 64}
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    assert published.source == f"models:/{run.outputs.model_outputs[0].model_id}"
    assert run.data.tags["dagster/run_id"] == version.tags["dagster/run_id"] == "run-1"
    assert version.tags["sultana.manifest_sha256"] == published.manifest_sha256
    tracking.verify("sultana-raise", 1)
    assert tracking.check() == []
    assert not list(tracking.folder.parent.rglob("*.pkl"))


def test_publishing_twice_gives_one_version_and_another_key_the_next(
    tracking: Tracking, adapter: Path
) -> None:
    first = publish(tracking, adapter)
    assert publish(tracking, adapter) == first
    second = publish(tracking, adapter, key="other", aliases=[])
    assert second.version == 2 and second.run_id != first.run_id
    assert [int(version.version) for version in tracking.versions("sultana-raise")] == [1, 2]
    assert tracking.versions("unknown") == []
    with tracking.client() as client:
        assert len(client.get_metric_history(first.run_id, "loss")) == 2
        assert client.get_model_version_by_alias("sultana-raise", "candidate").version in (1, "1")


def test_a_key_used_for_other_files_is_refused(tracking: Tracking, adapter: Path) -> None:
    publish(tracking, adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(SultanaError, match="has the same idempotency key and other files"):
        publish(tracking, adapter)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from resources import publishing, tracking
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
folder, files, place = sys.argv[1:]
import mlflow
client = mlflow.MlflowClient
if place == "torn upload":
    real = client.log_model_artifacts
    def torn(self, model, local):
        real(self, model, local)
        stored = Path(mlflow.artifacts.download_artifacts("models:/" + model))
        (stored / "adapter_model.safetensors").write_bytes(b"half")
        kill()
    client.log_model_artifacts = torn
elif place == "inside an upload":
    whole = os.replace
    def renamed(source, to):
        if ".artifact.uploading." in str(source) and Path(to).name == "MANIFEST.json":
            kill()
        whole(source, to)
    os.replace = renamed
elif place == "before the manifest":
    client.log_model_artifact = kill
elif place == "before the plots":
    client.log_artifacts = kill
elif place == "before ready":
    client.finalize_logged_model = kill
elif place == "before finished":
    client.set_terminated = kill
elif place == "before the version":
    client.create_model_version = kill
elif place == "before the alias":
    client.set_registered_model_alias = kill
tracking.Tracking(None, Path(folder)).publish(
    name="sultana-raise", idempotency_key="k", files=Path(files), parameters={"rank": 8, "model": "embedded",
    "target_modules": ["q", "v"]}, step_metrics=[{"step": 0, "loss": 2.0}], inputs=[], tags={},
    aliases=["candidate"], artifacts={"plots/loss.png": b"plot"})
"""
PLACES = [
    "before the plots",
    "torn upload",
    "inside an upload",
    "before the manifest",
    "before ready",
    "before finished",
    "before the version",
]


QUICK = ("torn upload", "inside an upload", "before the alias")
"""The places that `make test` has too."""


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, marks=[] if place in QUICK else pytest.mark.slow)
        for place in [*PLACES, "before the alias"]
    ],
)
def test_a_killed_publication_goes_on_where_it_ended(tracking: Tracking, adapter: Path, place: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tracking.folder), str(adapter), place]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    with tracking.client() as client:
        assert not any(model.aliases for model in client.search_registered_models())
    assert bool(tracking.check()) == (place not in ("before the version", "before the alias"))
    published = publish(tracking, adapter)
    assert published.version == 1 and publish(tracking, adapter) == published
    with tracking.client() as client:
        experiment = client.get_experiment_by_name("sultana").experiment_id
        assert [run.info.run_id for run in client.search_runs([experiment])] == [published.run_id]
        assert len(client.search_logged_models([experiment])) == 1
        assert client.get_registered_model("sultana-raise").aliases in ({"candidate": 1}, {"candidate": "1"})
    assert tracking.check() == []


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "manifest"])
def test_a_stored_file_that_differs_is_named(
    tracking: Tracking, adapter: Path, tmp_path: Path, damage: str
) -> None:
    import mlflow

    publish(tracking, adapter)
    stored = Path(mlflow.artifacts.download_artifacts("models:/sultana-raise/1"))
    weights = stored / "adapter_model.safetensors"
    if damage == "changed":
        content = bytearray(weights.read_bytes())
        content[100] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        weights.unlink()
    elif damage == "added":
        (stored / "backdoor.py").write_text("")
    else:
        (stored / "MANIFEST.json").write_text('{"files": {}}')
    name = {"added": "backdoor.py", "manifest": "MANIFEST.json"}.get(damage, "adapter_model.safetensors")
    with pytest.raises(SultanaError, match=f"The file {name} of sultana-raise version 1"):
        tracking.verify("sultana-raise", 1)
    with pytest.raises(SultanaError, match=name):
        tracking.set_alias("sultana-raise", "production", 1)
    with pytest.raises(SultanaError, match=name):
        tracking.download("sultana-raise", 1, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert [finding.table for finding in tracking.check()] == ["sultana-raise"]
    if damage != "added":  # publishing again repairs what it can overwrite
        publish(tracking, adapter)
        tracking.verify("sultana-raise", 1)


def test_what_mlflow_adds_on_loading_is_no_damage(tracking: Tracking, adapter: Path) -> None:
    import mlflow

    publish(tracking, adapter)
    stored = Path(mlflow.artifacts.download_artifacts("models:/sultana-raise@candidate"))
    assert (stored / MODEL_META).is_file()
    assert tracking.check() == []
    (adapter / MODEL_META).write_text("")
    with pytest.raises(SultanaError, match="MLflow writes over"):
        publish(tracking, adapter, key="other")


def test_files_of_a_run_are_replaced_by_path(tracking: Tracking, adapter: Path) -> None:
    import mlflow

    run = publish(tracking, adapter, artifacts={"plots/a.png": b"one", "note.txt": b"note"}).run_id
    tracking.log_artifacts(run, {"plots/a.png": b"two"})
    stored = Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=""))
    assert (stored / "plots" / "a.png").read_bytes() == b"two"
    assert (stored / "note.txt").read_bytes() == b"note"


def test_models_and_aliases_are_listed_and_an_alias_is_removed(tracking: Tracking, adapter: Path) -> None:
    assert tracking.models() == []
    publish(tracking, adapter)
    tracking.set_alias("sultana-raise", "champion", 1)
    assert tracking.models() == ["sultana-raise"]
    assert tracking.aliases("sultana-raise") == {"candidate": 1, "champion": 1}
    tracking.remove_alias("sultana-raise", "champion")
    assert tracking.aliases("sultana-raise") == {"candidate": 1}


def test_download_gives_a_verified_copy(tracking: Tracking, adapter: Path, tmp_path: Path) -> None:
    import mlflow

    publish(tracking, adapter)
    mlflow.artifacts.download_artifacts("models:/sultana-raise/1")
    copy = tracking.download("sultana-raise", 1, tmp_path / "deep" / "copy")
    assert (copy / "state" / "optimizer.safetensors").read_bytes() == b"state"
    assert os.listdir(tmp_path / "deep") == ["copy"] and not (copy / MODEL_META).exists()
    with pytest.raises(SultanaError, match="exists already"):
        tracking.download("sultana-raise", 1, copy)


def test_long_parameters_become_an_artifact(tracking: Tracking, adapter: Path, tmp_path: Path) -> None:
    import mlflow

    parameters = {"prompt": "x" * 7000, **{f"p{n}": n for n in range(150)}}
    metrics = [{"step": float(n), "loss": 1.0 / (n + 1)} for n in range(1500)]
    published = publish(tracking, adapter, parameters=parameters, step_metrics=metrics)
    with tracking.client() as client:
        run = client.get_run(published.run_id)
        assert len(client.get_metric_history(published.run_id, "loss")) == 1500
    assert run.data.params["prompt"] == "see the artifact parameters.json" and len(run.data.params) == 151
    path = mlflow.artifacts.download_artifacts(run_id=published.run_id, artifact_path="parameters.json")
    assert json.loads(Path(path).read_bytes()) == parameters


def test_evaluations_tags_and_aliases(tracking: Tracking, adapter: Path) -> None:
    published = publish(tracking, adapter)
    for value in (None, 0.25):  # the second time in place of the first
        rows = [{"task": "a", "value": 0.5}, {"task": "b", "value": value}]
        tables = {"evaluation/scores.json": rows, "evaluation/answers.json": []}
        tracking.log_evaluation(published.run_id, {"test/loss": 0.5, "test/accuracy": 0.25}, tables)
    with tracking.client() as client:
        experiment = client.get_run(published.run_id).info.experiment_id
        found = client.load_table(experiment, "evaluation/scores.json", [published.run_id])
        named = json.loads(client.get_run(published.run_id).data.tags["mlflow.loggedArtifacts"])
    assert found.to_dict("records") == rows
    assert [one["path"] for one in named] == list(tables)
    tracking.set_version_tags("sultana-raise", 1, {"reviewed": "yes"})
    tracking.set_alias("sultana-raise", "champion", 1)
    with tracking.client() as client:
        assert client.get_run(published.run_id).data.metrics["test/loss"] == 0.5
        version = client.get_model_version("sultana-raise", "1")
    assert version.tags["reviewed"] == "yes" and set(version.aliases) == {"candidate", "champion"}
    with pytest.raises(ValueError, match="reserved"):
        tracking.set_version_tags("sultana-raise", 1, {"sultana.manifest_sha256": "forged"})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "../evil"}, "Model .* is not a legal name"),
        ({"aliases": ["v3"]}, '"v3" is not a legal alias'),
        ({"aliases": ["latest"]}, "not a legal alias"),
        ({"aliases": ["a b"]}, "not a legal alias"),
    ],
)
def test_names_are_checked_before_anything_is_stored(
    tracking: Tracking, adapter: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SultanaError, match=problem):
        publish(tracking, adapter, **changes)
    assert tracking.check() == []


def test_what_does_not_exist_is_named(tracking: Tracking, tmp_path: Path) -> None:
    with pytest.raises(SultanaError, match="name=nothing.* not found"):
        tracking.verify("nothing", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SultanaError, match="holds no file"):
        publish(tracking, tmp_path / "empty")
    unreachable = Tracking("sqlite:////dev/null/mlflow.db", tmp_path / "t")
    with pytest.raises((SultanaError, OSError)):
        unreachable.versions("m")


def test_the_database_is_durable_by_its_settings(tracking: Tracking) -> None:
    import sqlite3

    assert tracking.database is not None
    with sqlite3.connect(tracking.database) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with tracking.client() as client:
        store = client._tracking_client.store
        with store.engine.connect() as session:
            assert session.exec_driver_sql("PRAGMA synchronous").fetchone() == (2,)


def test_check_names_a_damaged_database(tracking: Tracking) -> None:
    assert tracking.database is not None
    with tracking.database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    assert "mlflow.db" in tracking.check()[0].problem
    assert logging.getLogger("alembic").level >= logging.WARNING
