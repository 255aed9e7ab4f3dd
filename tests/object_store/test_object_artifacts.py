"""Artifacts of MLflow in an object store: published, verified, loaded, and refused where they cannot be."""

import os
from pathlib import Path

import pytest

from resources.definitions import ModelRegistry, Storage
from resources.errors import SultanaError, TransientError
from resources.tracking import PublishedModel, Tracking
from tests.object_store.store import BUCKET, KEY, SECRET, Store, start_store


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(100_000))
    (folder / "adapter_config.json").write_text("{}")
    return folder


def publish(tracking: Tracking, files: Path, key: str = "1") -> PublishedModel:
    return tracking.publish(
        name="small",
        idempotency_key=key,
        files=files,
        parameters={"rows": 3},
        step_metrics=[{"step": 1, "loss": 0.5}],
        inputs=[],
        tags={},
        aliases=["candidate"],
        artifacts={"notes/about.txt": b"some notes"},
    )


def test_a_model_is_published_verified_and_copied_back(
    store: Store, uri: str, files: Path, tmp_path: Path
) -> None:
    tracking = Tracking(None, tmp_path / "mlflow", artifacts_uri=uri)
    made = publish(tracking, files)
    assert publish(tracking, files) == made and tracking.aliases("small") == {"candidate": 1}
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    held = [one.removeprefix(f"{prefix}/sultana/") for one in store.objects(f"{prefix}/")]
    assert f"{made.run_id}/artifacts/notes/about.txt" in held
    assert {one.rpartition("/")[2] for one in held} == {
        "about.txt",
        "adapter_model.safetensors",
        "adapter_config.json",
        "MANIFEST.json",
    }
    assert not list((tmp_path / "mlflow").rglob("*.safetensors"))
    again = Tracking(None, tmp_path / "mlflow")  # the experiment remembers where its artifacts lie
    again.verify("small", 1)
    assert again.objects == uri and again.check() == []
    copy = again.download("small", 1, tmp_path / "copy")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (copy / name).read_bytes() == (files / name).read_bytes()
    assert again.read_artifact(made.run_id, "notes/about.txt") == b"some notes"
    assert again.read_artifact(made.run_id, "notes/none.txt") is None
    stored = b"".join(path.read_bytes() for path in (tmp_path / "mlflow").rglob("*") if path.is_file())
    assert SECRET.encode() not in stored and KEY.encode() not in stored


def test_an_artifact_that_was_changed_or_removed_is_found(
    store: Store, uri: str, files: Path, tmp_path: Path
) -> None:
    tracking = Tracking(None, tmp_path / "mlflow", artifacts_uri=uri)
    publish(tracking, files)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    (key,) = [one for one in store.objects(f"{prefix}/") if one.endswith(".safetensors")]
    store.client().put_object(Bucket=BUCKET, Key=key, Body=b"other")
    with pytest.raises(SultanaError) as raised:
        tracking.verify("small", 1)
    assert raised.value.code == "published-file-differs"
    assert "adapter_model.safetensors" in tracking.check()[0].problem
    publish(tracking, files)  # completes what is missing
    tracking.verify("small", 1)
    store.client().delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(SultanaError) as raised:
        tracking.verify("small", 1)
    assert raised.value.code == "published-file-differs"


def test_artifacts_are_not_looked_for_elsewhere_than_they_lie(
    store: Store, uri: str, files: Path, tmp_path: Path
) -> None:
    publish(Tracking(None, tmp_path / "here"), files)
    publish(Tracking(None, tmp_path / "there", artifacts_uri=uri), files)
    for folder, setting in ((tmp_path / "here", uri), (tmp_path / "there", f"s3://{BUCKET}/other")):
        with pytest.raises(SultanaError) as raised:
            publish(Tracking(None, folder, artifacts_uri=setting), files, "2")
        assert raised.value.code == "artifacts-elsewhere"
    publish(Tracking(None, tmp_path / "here", experiment="new", artifacts_uri=uri), files, "2")


def test_a_server_of_its_own_keeps_its_artifacts(tmp_path: Path) -> None:
    with pytest.raises(SultanaError) as raised:
        Tracking("http://127.0.0.1:1", tmp_path, artifacts_uri=f"s3://{BUCKET}/p")
    assert raised.value.code == "settings-conflict"


def test_a_store_that_is_gone_is_named(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto", reason="needs what `make install` brings: sultana[dev]")
    with start_store(tmp_path) as store:
        for name, value in store.settings.items():
            monkeypatch.setenv(name, value)
        # MLflow keeps the client of the store that it spoke to before.
        from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client

        _cached_get_s3_client.cache_clear()
        tracking = Tracking(None, tmp_path / "mlflow", artifacts_uri=f"s3://{BUCKET}/p")
        made = publish(tracking, files)
        store.process.kill()
        store.process.wait()
        for call in (
            lambda: publish(tracking, files, "2"),
            lambda: tracking.verify("small", 1),
            lambda: tracking.read_artifact(made.run_id, "notes/about.txt"),
        ):
            with pytest.raises(TransientError) as raised:
                call()
            _cached_get_s3_client.cache_clear()
            assert raised.value.code == "object-store-unreachable"
            assert store.endpoint in raised.value.problem and SECRET not in str(raised.value)


def test_the_settings_of_a_deployment_reach_both_stores(
    store: Store, uri: str, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_TABLES_URI", f"{uri}/tables")
    monkeypatch.setenv("SULTANA_ARTIFACTS_URI", f"{uri}/artifacts")
    elsewhere = Storage(folder=str(tmp_path / "other"), tables_uri=f"{uri}/other")
    assert elsewhere.tables().where == f"{uri}/other"  # a setting of a run goes before that of the deployment
    storage = Storage(folder=str(tmp_path / "data"))
    assert storage.tables().where == f"{uri}/tables"
    tracking = ModelRegistry().open(storage)
    publish(tracking, files)
    assert tracking.objects == f"{uri}/artifacts"
