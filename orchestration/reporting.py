"""`sultana report`: one registered version as one HTML file, and the same file beside its MLflow run."""

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.lineage.report.report import render_report
from orchestration.instance import open_instance
from orchestration.registered import (
    PARTITION_TAG,
    Registered,
    checkpoint_of,
    download_verified,
    find_registered,
    open_registry,
)
from orchestration.report_facts import gather
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.files import write_atomically
from resources.text import escape_terminal
from resources.tracking import Tracking

ARTIFACT = "report.html"
"""Where the report lies among the artifacts of the MLflow run."""


def write_report(reference: str, out: Path, console: Console, *, tracking_uri: str = "") -> dict[str, Any]:
    """Writes the file `out` and says so; returns what was written, as JSON values.

    Raises SultanaError where `out` exists, where the version does not exist or its files are not those that
    were published, and where its lineage is not known here.
    """
    out = out.expanduser().resolve()
    if out.exists():
        raise SultanaError(
            f"{out} exists already",
            "Name another file, or remove this one if it is not needed",
            code="output-exists",
        )
    tracking = open_registry(tracking_uri)
    model, html = _render(tracking, reference, console)
    write_atomically(out, html)
    _tell(console, f"Wrote {out} ({len(html) / 2**10:,.0f} KiB): {model.title}")
    return {"model": model.name, "version": model.version, "file": str(out), "bytes": len(html)}


def attach_report(reference: str, console: Console, *, tracking_uri: str = "") -> dict[str, Any]:
    """Puts the report among the artifacts of the version's MLflow run; returns where it lies, as JSON values.

    Raises SultanaError as `write_report` does.
    """
    tracking = open_registry(tracking_uri)
    model, html = _render(tracking, reference, console)
    tracking.log_artifacts(model.run_id, {ARTIFACT: html})
    _tell(console, f"Report of {model.title}: {ARTIFACT} of the MLflow run {model.run_id}")
    return {
        "model": model.name,
        "version": model.version,
        "partition": model.tags[PARTITION_TAG],
        "mlflow_run_id": model.run_id,
        "artifact": ARTIFACT,
        "bytes": len(html),
    }


def _render(tracking: Tracking, reference: str, console: Console) -> tuple[Registered, bytes]:
    storage = Storage()
    model = find_registered(tracking, reference)
    with (
        open_instance(data_folder()) as instance,
        tempfile.TemporaryDirectory(prefix="report-", dir=storage.path("tmp")) as temporary,
    ):
        checkpoint = checkpoint_of(instance, model)
        files, base = download_verified(tracking, model, Path(temporary) / "model")
        facts = gather(instance, storage, tracking, model, checkpoint, files, base)
    if facts.retracted:
        _tell(console, f"Warning: {facts.retracted}")
    return model, render_report(facts).encode()


def _tell(console: Console, line: str) -> None:
    console.print(escape_terminal(line), markup=False, soft_wrap=True)
