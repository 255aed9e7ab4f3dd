"""Are the models, the Dagster instance, the Lance tables and the MLflow registry there and whole?"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from orchestration.diagnosis.finding import Examined, Finding
from orchestration.instance import open_instance
from resources.definitions import EmbedderSetting, LanguageModelSetting, ModelRegistry, Storage
from resources.errors import SultanaError


def check_models(examined: Examined) -> Iterator[Finding]:
    """The language model and the embedder can be found and hashed."""
    storage = Storage(folder=str(examined.folder))
    for setting in (LanguageModelSetting(), EmbedderSetting()):
        try:
            setting.open(storage).fingerprint()
        except SultanaError as error:
            yield Finding(error.problem, error.remedy)


@contextlib.contextmanager
def instance_of(folder: Path) -> Iterator[dg.DagsterInstance | None]:
    """The Dagster instance of a data folder; None where none has been made yet."""
    if not (folder / "dagster" / "dagster.yaml").exists():
        yield None
        return
    with open_instance(folder) as instance:
        yield instance


def check_instance(examined: Examined) -> Iterator[Finding]:
    """Dagster's instance opens."""
    try:
        with instance_of(examined.folder) as instance:
            if instance is not None:
                instance.get_runs(limit=1)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from opening is the finding
        reason = " ".join(str(error).split())[:300]
        yield Finding(
            f"The Dagster instance in {examined.folder / 'dagster'} does not open ({reason})",
            "Correct dagster.yaml there, or restore the folder from a backup",
        )


def check_tables(examined: Examined) -> Iterator[Finding]:
    """Every acknowledged table version is there, tagged and readable."""
    for finding in Storage(folder=str(examined.folder)).tables().check():
        yield Finding(f"Table {finding.table}: {finding.problem}", finding.remedy)


def check_registry(examined: Examined) -> Iterator[Finding]:
    """Every registered version's files are those that were published."""
    for finding in ModelRegistry().open(Storage(folder=str(examined.folder))).check():
        yield Finding(f"Registry {finding.table}: {finding.problem}", finding.remedy)
