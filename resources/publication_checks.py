"""Read-only checks of what publications that were killed left in MLflow: runs that never end, models of no version."""

from typing import TYPE_CHECKING

from resources.findings import Finding
from resources.publishing import IDEMPOTENCY_TAG
from resources.tracking_repairs import end_publication, remove_models

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from resources.tracking import Tracking

_AGAIN = "Materialize the checkpoint again: it goes on from there"


def check_publications(tracking: "Tracking") -> list[Finding]:
    """Runs of publications that did not finish, and models that those stored and did not register.

    On a server, which others may publish to at this moment, nothing is offered for repair.
    """
    with tracking.client() as client:
        experiment = client.get_experiment_by_name(tracking.experiment)
        if experiment is None:
            return []
        ours = [experiment.experiment_id]
        unfinished = client.search_runs(
            ours, filter_string=f"attributes.status = 'RUNNING' and tags.`{IDEMPOTENCY_TAG}` != ''"
        )
        models = _models(client, ours)
        running = {run.info.run_id for run in unfinished}
        ended = {
            model.source_run_id
            for model in models
            if model.source_run_id not in running
            and client.get_run(model.source_run_id).info.status != "FINISHED"
        }
    sources = {str(version.source) for name in tracking.models() for version in tracking.versions(name)}
    left = [model for model in models if not any(model.model_id in source for source in sources)]
    local = tracking.database is not None
    findings = []
    for run in unfinished:
        stored = _of(left, run.info.run_id)
        findings.append(
            Finding(
                run.info.run_name,
                f"the publication in run {run.info.run_id} did not finish",
                _AGAIN,
                "publication-dead",
                "warning",
                end_publication(tracking, run.info.run_id, stored) if local else None,
            )
        )
    # A model of a run that has finished may be one whose version somebody deleted: that is theirs.
    for run_id in sorted(ended):
        if stored := _of(left, run_id):
            findings.append(
                Finding(
                    left[0].name,
                    f"{len(stored)} models of the publication in run {run_id}, which was ended, have no version: "
                    f"{', '.join(stored[:3])}",
                    _AGAIN,
                    "model-without-version",
                    "warning",
                    remove_models(tracking, stored) if local else None,
                )
            )
    return findings


def _models(client: "MlflowClient", experiments: list[str]) -> list["LoggedModel"]:
    found: list[LoggedModel] = []
    token = None
    while True:
        page = client.search_logged_models(
            experiments, filter_string=f"tags.`{IDEMPOTENCY_TAG}` != ''", page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return found


def _of(models: list["LoggedModel"], run_id: str) -> list[str]:
    return sorted(model.model_id for model in models if model.source_run_id == run_id)
