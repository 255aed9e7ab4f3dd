"""What the commands do, done from the Dagster UI: each job for real, in this process."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.model_jobs import MODEL_JOBS
from resources.errors import SultanaError
from resources.tracking import Tracking


@pytest.fixture
def instance(registered_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("SULTANA_DATA", str(registered_data))
    with open_instance(registered_data) as found:
        yield found


def run(instance: dg.DagsterInstance, job: str, **config: Any) -> dict[str, Any]:
    """The answer that a job shows, run with one op's configuration."""
    definition = defs.resolve_job_def(job)
    (op,) = definition.graph.node_dict
    done = definition.execute_in_process(instance=instance, run_config={"ops": {op: {"config": config}}})
    (output,) = done.filter_events(lambda event: event.event_type_value == "STEP_OUTPUT")
    answer: dict[str, Any] = output.step_output_data.metadata["answer"].value
    return answer


def test_every_command_has_its_job() -> None:
    commands = {job.tags["sultana/command"] for job in MODEL_JOBS}
    # `run` is "Materialize", `status` is what the UI shows, and `ui` is the UI; `restore` needs an empty data folder,
    # which one with a UI over it is not.
    assert commands == {
        *("compare", "report", "promote", "rollback", "generate", "export", "export-model", "doctor"),
        *("audit", "trace", "prove", "export-lineage", "maintain", "retract", "retractions", "backup"),
    }


def test_a_report_from_the_ui_is_found_with_the_run_and_on_the_page_of_the_checkpoint(
    instance: dg.DagsterInstance, registered_data: Path
) -> None:
    told = run(instance, "report_model", model="sultana/1")
    assert told["artifact"] == "report.html"
    with Tracking(None, registered_data / "mlflow").client() as client:
        assert "report.html" in {one.path for one in client.list_artifacts(told["mlflow_run_id"])}
    (seen,) = instance.fetch_observations(dg.AssetKey("checkpoint"), limit=1).records
    assert seen.partition_key == "0|random"
    assert told["mlflow_run_id"] in str(seen.asset_observation.metadata["report"].value)


def test_promote_and_roll_back_from_the_ui(instance: dg.DagsterInstance, registered_data: Path) -> None:
    tracking = Tracking(None, registered_data / "mlflow")
    with pytest.raises(SultanaError, match="is not promoted"):
        run(instance, "promote_model", model="sultana/1", loss_margin=9.0)
    told = run(instance, "promote_model", model="sultana/1", loss_tolerance=9.0, reason="from the UI")
    assert told["reason"] == "from the UI" and tracking.aliases("sultana")["champion"] == 1
    run(instance, "roll_back_model")
    assert "champion" not in tracking.aliases("sultana")


def test_the_other_jobs(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    found = run(instance, "compare_models", ours="sultana/1", theirs="sultana/1")
    assert found["settings"] == [] and found["scores"]
    assert run(instance, "export_instructions", out_folder=str(tmp_path / "rows"))["parts"]
    assert (tmp_path / "rows" / "README.md").is_file()
    assert run(instance, "export_model", model="sultana/1", out_folder=str(tmp_path / "model"))["model"]
    assert (tmp_path / "model" / "adapter_config.json").is_file()
    told = run(instance, "export_lineage_of_model", model="sultana/1", out_folder=str(tmp_path / "lineage"))
    assert set(told["files"]) < {
        str(one.relative_to(tmp_path / "lineage")) for one in (tmp_path / "lineage").rglob("*")
    }
    asked = run(instance, "ask_model", model="sultana/1", prompt="Name a colour.", maximum_new_tokens=3)
    assert asked["prompt"] == "Name a colour." and isinstance(asked["reply"], str)
    found = run(instance, "maintain_tables", dry_run=True)
    assert found["dry_run"] and found["older_than_days"] == 30
    assert run(instance, "maintain_tables")["removed_versions"] == 0
    with pytest.raises(SultanaError, match="Either a row or a text"):
        run(instance, "trace_row")
    assert run(instance, "examine_this_machine", port=4399)["data_folder"] == os.environ["SULTANA_DATA"]
    assert run(instance, "examine_this_machine", port=4399, repair=True)["problems"] == 0
    made = run(instance, "back_up_data_folder", folder=str(tmp_path / "backups"))
    assert (Path(made["backup"]) / "BACKUP.json").is_file()


@pytest.mark.parametrize(
    ("job", "config"),
    [
        ("promote_model", {"loss_tolerance": -1.0}),
        ("promote_model", {"los_margin": 1.0}),
        ("ask_model", {"prompt": "Hello", "maximum_new_tokens": 0}),
        ("ask_model", {}),
    ],
)
def test_a_wrong_setting_is_refused(instance: dg.DagsterInstance, job: str, config: dict[str, Any]) -> None:
    with pytest.raises((dg.DagsterInvalidConfigError, ValidationError)):
        run(instance, job, **config)
