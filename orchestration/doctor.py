"""`sultana doctor`: is everything there, whole and able to work? Repairs nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

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
from resources.text import escape_terminal

CHECKS: tuple[tuple[str, Callable[[Examined], Iterator[Finding]]], ...] = (
    ("Python", check_python),
    ("packages", check_packages),
    ("embedded models", check_embedded_models),
    ("disk", check_disk),
    ("memory", check_memory),
    ("language model and embedder", check_models),
    ("Dagster instance", check_instance),
    ("runs and pools", check_runs),
    ("Lance tables", check_tables),
    ("MLflow registry", check_registry),
    ("locks", check_locks),
    ("half-written files", check_staging),
    ("port of the UI", check_port),
    ("sandbox for generated code", check_sandbox),
)
DEPENDENT = {"runs and pools": "Dagster instance"}
"""Checks that cannot be made where another one has found a problem."""


def examine(port: int) -> dict[str, Any]:
    """Runs every check, as JSON values: what each found, and how many problems and warnings there are."""
    examined = Examined(data_folder(), port)
    checks: list[dict[str, Any]] = []
    for name, check in CHECKS:
        broken = [one["name"] for one in checks if one["name"] == DEPENDENT.get(name) and one["findings"]]
        found = [] if broken else [asdict(one) for one in check(examined)]
        checks.append({"name": name, "examined": not broken, "findings": found})
    levels = [one["level"] for check in checks for one in check["findings"]]
    return {
        "data_folder": str(examined.folder),
        "port": port,
        "problems": levels.count("problem"),
        "warnings": levels.count("warning"),
        "checks": checks,
    }


def show_examination(found: Mapping[str, Any], console: Console) -> None:
    """Prints a line per check, and below it what is wrong and how to mend it."""
    console.print(f"Data folder: {found['data_folder']}", markup=False)
    for check in found["checks"]:
        levels = {one["level"] for one in check["findings"]}
        mark = "✗" if "problem" in levels else "!" if levels else "✓" if check["examined"] else "–"
        console.print(f"{mark} {check['name']}{'' if check['examined'] else ' (not examined)'}", markup=False)
        for one in check["findings"]:
            told = escape_terminal(f"{one['problem']}. {one['remedy']}.")
            console.print(f"    {told}", markup=False, soft_wrap=True)
    console.print(f"Problems: {found['problems']}, warnings: {found['warnings']}", markup=False)
