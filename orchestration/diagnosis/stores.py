"""Are the models, the Dagster instance, the Lance tables and the MLflow registry there and whole?"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets.materialized import every_materialization
from orchestration.diagnosis.data_folder import damaged_databases
from orchestration.diagnosis.finding import Examined, Finding
from orchestration.instance import open_instance, write_settings
from resources.definitions import EmbedderSetting, LanguageModelSetting, ModelRegistry, Storage
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.findings import Finding as StoreFinding
from resources.findings import Repair
from resources.table_checks import LOG_BEHIND, LOG_DAMAGED, check_leftovers
from resources.tables import LanceTables

LOG_UNUSABLE = {"commit-log-unusable", "commit-log-changed"}
LONGEST_WAIT = 10.0
"""Seconds that the doctor waits for whoever writes a table."""

RESTORE_INSTANCE = "Restore the folder from a backup (`sultana restore`); tables and models are not affected"


def check_models(examined: Examined) -> Iterator[Finding]:
    """The language model and the embedder can be found and hashed. What is not converted yet is not converted here."""
    storage = Storage(folder=str(examined.folder))
    for setting in (LanguageModelSetting(), EmbedderSetting()):
        try:
            setting.open(storage).check()
        except SultanaError as error:
            yield Finding(error.problem, error.remedy, code=error.code)


@contextlib.contextmanager
def instance_of(folder: Path) -> Iterator[dg.DagsterInstance | None]:
    """The Dagster instance of a data folder; None where none has been made yet."""
    if not (folder / "dagster" / "dagster.yaml").exists():
        yield None
        return
    with open_instance(folder) as instance:
        yield instance


def check_instance(examined: Examined) -> Iterator[Finding]:
    """Dagster's instance was made to its end, opens, and its databases are whole."""
    home = examined.folder / "dagster"
    if found := _half_made(examined.folder, home):
        yield found
        return
    damaged = list(damaged_databases(examined.folder))
    for database, verdict in damaged:
        yield Finding(
            f"The database {database} is damaged: {verdict}",
            RESTORE_INSTANCE,
            code="instance-database-damaged",
        )
    if damaged:
        return
    try:
        with instance_of(examined.folder) as instance:
            if instance is not None:
                instance.get_runs(limit=1)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from opening is the finding
        reason = " ".join(str(error).split())[:300]
        yield Finding(
            f"The Dagster instance in {home} does not open ({reason})",
            "Correct dagster.yaml there, or restore the folder from a backup",
            code="instance-unusable",
        )


def _half_made(data: Path, home: Path) -> Finding | None:
    if not home.is_dir() or (home / "dagster.yaml").exists():
        return None
    lock = data / ".dagster.lock"
    if any(path.stat().st_size for path in home.glob("history/**/*.db")):

        def settings() -> None:
            with exclusive_lock(lock):
                write_settings(home)

        return Finding(
            f"The Dagster instance in {home} has lost its settings, dagster.yaml",
            "Restore the file from a backup, or let the repair write it as at a first start",
            code="instance-settings-gone",
            repair=Repair(f"write {home / 'dagster.yaml'} as at a first start", settings, quiet=False),
        )

    def remove() -> None:
        with exclusive_lock(lock):
            if not (home / "dagster.yaml").exists():
                shutil.rmtree(home)

    return Finding(
        f"The Dagster instance in {home} was not made to its end, and nothing is in it",
        f"Remove {home}: it is made again at the next start",
        code="instance-half-made",
        repair=Repair(f"remove {home}: it is made again at the next start", remove, quiet=False),
    )


def check_tables(examined: Examined) -> Iterator[Finding]:
    """Every acknowledged table version is there, tagged and readable, its files as they were written."""
    named = versions_named(examined.folder)
    try:
        tables = LanceTables(Storage(folder=str(examined.folder)).path("lance"), lock_timeout=LONGEST_WAIT)
        found = tables.check(named)
        if not {LOG_DAMAGED, LOG_BEHIND} & {one.code for one in found}:
            found += check_leftovers(tables, can_drop=named is not None)
    except SultanaError as error:
        code = LOG_DAMAGED if error.code in LOG_UNUSABLE else error.code
        yield Finding(error.problem, error.remedy, code=code)
        return
    for finding in found:
        yield _told(f"Table {finding.table}", finding)


def versions_named(folder: Path) -> set[tuple[str, int, str]] | None:
    """Table, number and digest of every version that a materialization names; None where they cannot be read."""
    found = set()
    try:
        with instance_of(folder) as instance:
            if instance is None:
                return set()
            for key in instance.all_asset_keys():
                for made in every_materialization(instance, key.to_user_string()):
                    for ref in made.record["tables"].values():
                        found.add((str(ref["table"]), int(ref["version"]), str(ref["digest"])))
    except Exception:  # noqa: BLE001 - what is wrong with the instance is told by `check_instance`
        return None
    return found


def check_registry(examined: Examined) -> Iterator[Finding]:
    """Every registered version's files are those that were published."""
    for finding in ModelRegistry().open(Storage(folder=str(examined.folder))).check():
        yield _told(f"Registry {finding.table}", finding)


def _told(where: str, finding: StoreFinding) -> Finding:
    return Finding(f"{where}: {finding.problem}", finding.remedy, finding.level, finding.code, finding.repair)
