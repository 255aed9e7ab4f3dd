"""Alerts on runs: one that failed for good, and the first that succeeds after such a one.

Where alerts go is said in `resources.alerts`; the environment is read when one is sent, so that neither
definitions nor event log ever hold an address. `SULTANA_UI_ADDRESS` is put before links to runs.
"""

import os
from collections.abc import Sequence
from typing import Any

import dagster as dg

from orchestration.check_results import failed_checks, in_words, stops
from resources.alerts import EMAIL, WEBHOOK, Alert, is_configured, send
from resources.errors import SultanaError, TransientError
from resources.text import escape_terminal

UI = "SULTANA_UI_ADDRESS"
NOWHERE = dg.SkipReason(f"Neither {WEBHOOK} nor {EMAIL} is set, so there is nowhere to send alerts to")
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
LOOKED_BACK = 100
OURS = {SultanaError.__name__, TransientError.__name__}
PARTITION = "dagster/partition"


def _title(run: dg.DagsterRun, what: str) -> str:
    partition = run.tags.get(PARTITION)
    selected = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    name = selected if run.job_name.startswith("__") and selected else run.job_name
    return escape_terminal(f"Sultana: {name[:200]}{f' {partition}' if partition else ''} {what}")


def _values(
    run: dg.DagsterRun, event: str, steps: Sequence[dict[str, str]], checks: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "event": event,
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get(PARTITION),
        "assets": sorted(key.to_user_string() for key in run.asset_selection or ()),
        "steps": list(steps),
        "checks": list(checks),
    }


def _where(run: dg.DagsterRun) -> str:
    address = os.environ.get(UI, "").rstrip("/")
    return f"{address}/runs/{run.run_id}" if address else f"Run {run.run_id}"


def failure_alert(run: dg.DagsterRun, steps: Sequence[dict[str, str]], checks: Sequence[str] = ()) -> Alert:
    """What is said of a failed run. Each of `steps` has a `step` and its `error`; `checks` say what checks found."""
    lines = [f"{one['step']}: {one['error']}" for one in steps] or ["It ended without a failed step."]
    text = "\n".join([*lines, *checks, _where(run)])
    return Alert(_title(run, "failed"), text, _values(run, "run_failed", steps, checks))


def _same_work(one: dg.DagsterRun, other: dg.DagsterRun) -> bool:
    """Whether two runs make the same: an asset in common, or the same whole job, of the same partition."""
    if one.tags.get(PARTITION) != other.tags.get(PARTITION):
        return False
    if one.asset_selection and other.asset_selection:
        return bool(one.asset_selection & other.asset_selection)
    return one.job_name == other.job_name


def has_recovered(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the last run before this one that made the same had failed."""
    records = instance.get_run_records(dg.RunsFilter(statuses=FINISHED), limit=LOOKED_BACK)
    ids = [record.dagster_run.run_id for record in records]
    if run.run_id not in ids:
        return False
    before = (record.dagster_run for record in records[ids.index(run.run_id) + 1 :])
    last = next((one for one in before if _same_work(run, one)), None)
    return last is not None and last.status == dg.DagsterRunStatus.FAILURE


def _reason(event: dg.DagsterEvent) -> str:
    """Why a step failed, in one line without a traceback: the outermost error of ours, else the innermost error."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None and error.cls_name not in OURS:
        error = error.cause
    text = error.message if error is not None else event.message or ""
    return escape_terminal(" ".join(text.split()), 500)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of a run that has failed and will not be tried again.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """See the description."""
    if not is_configured(os.environ):
        return NOWHERE
    if context.dagster_run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason("It will be tried again")
    steps = [
        {"step": event.step_key or "", "error": _reason(event)} for event in context.get_step_failure_events()
    ]
    # Of a check that stopped the run, the step's error has the name alone.
    checks = [
        escape_terminal(in_words(one), 500)
        for one in failed_checks(context.instance, context.dagster_run.run_id)
        if stops(one)
    ]
    send(failure_alert(context.dagster_run, steps, checks), os.environ)
    return None


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of the first run that succeeds after one that made the same had failed.",
)
def alert_on_recovery(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
    """See the description."""
    if not is_configured(os.environ):
        return NOWHERE
    run = context.dagster_run
    if not has_recovered(context.instance, run):
        return dg.SkipReason("The run before it had not failed")
    send(Alert(_title(run, "succeeds again"), _where(run), _values(run, "run_recovered", [])), os.environ)
    return None


ALERTS = [alert_on_failure, alert_on_recovery]
