"""A deployment with a registered model, backed up and restored elsewhere: every hash behind the model is recomputed."""

from pathlib import Path

import pytest

from orchestration.auditing import audit
from orchestration.backing_up import back_up
from orchestration.instance import open_instance
from orchestration.maintenance import maintain
from orchestration.restoring import restore
from resources.definitions import Storage
from resources.tracking import Tracking


def test_a_restored_model_is_verified_from_the_restored_bytes(
    registered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    before = audit("sultana/1", verified=True)
    made = back_up(tmp_path / "backups")
    new = tmp_path / "new"
    new.mkdir()
    (new / "models").symlink_to((registered_data / "models").resolve(), target_is_directory=True)
    monkeypatch.setenv("SULTANA_DATA", str(new))
    found = restore(tmp_path / "backups")
    assert found["files"] == made["files"] and found["moved_places"] > 0 and found["ended_runs"] == []
    after = audit("sultana/1", verified=True)
    assert after["verification"]["sound"], after["verification"]["problems"]
    assert after["verification"]["tables"] == before["verification"]["tables"]
    assert after["verification"]["model_files"] == before["verification"]["model_files"]
    assert after["totals"] == before["totals"] and after["chain"] == before["chain"]
    with Tracking(None, new / "mlflow").stored("sultana", 1) as folder:
        assert folder.is_relative_to(new)
    with open_instance(new) as instance:
        assert instance.get_runs_count() > 0
    maintain(older_than=0)
    assert Storage().tables().check() == [] and audit("sultana/1", verified=True)["verification"]["sound"]
