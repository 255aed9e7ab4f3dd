"""`sultana doctor`: is everything there, whole and able to work? It repairs nothing; `orchestration.repairing` does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestration.diagnosis.data_folder import check_folder, check_logs
from orchestration.diagnosis.finding import Examined, Finding
from orchestration.diagnosis.installation import (
    check_embedded_models,
    check_packages,
    check_python,
    check_sandbox,
)
from orchestration.diagnosis.leftovers import check_locks, check_runs, check_staging
from orchestration.diagnosis.machine import check_disk, check_memory, check_port
from orchestration.diagnosis.stores import check_instance, check_models, check_registry, check_tables
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.text import escape_terminal

# The logs first: whoever opens a database brings in what its log holds. Then the locks, which what follows takes.
CHECKS: tuple[tuple[str, Callable[[Examined], Iterator[Finding]]], ...] = (
    ("Python", check_python),
    ("packages", check_packages),
    ("embedded models", check_embedded_models),
    ("disk", check_disk),
    ("memory", check_memory),
    ("database logs", check_logs),
    ("locks", check_locks),
    ("data folder", check_folder),
    ("language model and embedder", check_models),
    ("Dagster instance", check_instance),
    ("runs and pools", check_runs),
    ("Lance tables", check_tables),
    ("MLflow registry", check_registry),
    ("half-written files", check_staging),
    ("port of the UI", check_port),
    ("sandbox for generated code", check_sandbox),
)
NEEDED = {
    "language model and embedder": ("locks",),
    "Dagster instance": ("locks", "data folder"),
    "runs and pools": ("locks", "data folder", "Dagster instance"),
    "Lance tables": ("database logs", "locks", "data folder"),
    "MLflow registry": ("database logs", "locks", "data folder"),
}
"""Checks that cannot be made where one of the others has found a problem."""


@dataclass(frozen=True)
class Check:
    """What one check found; not `examined` where another one kept it from looking."""

    name: str
    examined: bool
    findings: tuple[Finding, ...]


def look(examined: Examined) -> list[Check]:
    """Runs every check."""
    checks: list[Check] = []
    for name, check in CHECKS:
        broken = {one.name for one in checks if any(each.level == "problem" for each in one.findings)}
        if broken & set(NEEDED.get(name, ())):
            checks.append(Check(name, False, ()))
            continue
        findings: list[Finding] = []
        try:
            findings.extend(check(examined))
        except SultanaError as error:  # a store that cannot be opened at all is what was found
            findings.append(Finding(error.problem, error.remedy, code=error.code))
        checks.append(Check(name, True, tuple(findings)))
    return checks


def examine(port: int) -> dict[str, Any]:
    """Runs every check, as JSON values: what each found, and how many problems and warnings there are."""
    examined = Examined(data_folder(), port)
    return told(examined, look(examined))


def told(examined: Examined, checks: list[Check]) -> dict[str, Any]:
    """What was found, as JSON values."""
    levels = [finding.level for check in checks for finding in check.findings]
    return {
        "data_folder": str(examined.folder),
        "port": examined.port,
        "problems": levels.count("problem"),
        "warnings": levels.count("warning"),
        "checks": [
            {
                "name": check.name,
                "examined": check.examined,
                "findings": [
                    {
                        "problem": one.problem,
                        "remedy": one.remedy,
                        "level": one.level,
                        "code": one.code,
                        "repair": one.repair.told if one.repair else None,
                    }
                    for one in check.findings
                ],
            }
            for check in checks
        ],
    }


def show_examination(found: Mapping[str, Any], console: Console) -> None:
    """Prints a line per check, and below it what is wrong and how to mend it; first what was repaired, if any."""
    console.print(f"Data folder: {found['data_folder']}", markup=False)
    for one in found.get("repairs", ()):
        said = f"{'Repaired' if one['done'] else 'Not repaired'}: {one['problem']}. "
        said += f"Done: {one['repair']}." if one["done"] else f"{one['why']}."
        console.print(escape_terminal(said), markup=False, soft_wrap=True)
    for check in found["checks"]:
        levels = {one["level"] for one in check["findings"]}
        mark = "✗" if "problem" in levels else "!" if levels else "✓" if check["examined"] else "–"
        console.print(f"{mark} {check['name']}{'' if check['examined'] else ' (not examined)'}", markup=False)
        for one in check["findings"]:
            said = escape_terminal(f"{one['problem']}. {one['remedy']}.")
            console.print(f"    {said}", markup=False, soft_wrap=True)
            if one["repair"]:
                offer = escape_terminal(f"`sultana doctor --repair` would {one['repair']}.")
                console.print(f"    {offer}", markup=False, soft_wrap=True)
    console.print(f"Problems: {found['problems']}, warnings: {found['warnings']}", markup=False)
