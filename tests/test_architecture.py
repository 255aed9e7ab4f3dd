"""The rules of the house: imports run one way, and methods do not know Dagster."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
STAGES = (
    "instructions",
    "embeddings",
    "interpolation",
    "diversity",
    "finetuning",
    "evaluation",
    "selection",
    "lineage",
)
DOORS = {
    "assets.py",
    "split_assets.py",
    "leaderboard_assets.py",
    "retraction_assets.py",
    "checks.py",
    "config.py",
}
DAGSTER_IN_ASSETS = {
    "checking.py",
    "failures.py",
    "materialization.py",
    "materialized.py",
    "presentation.py",
    "partitions.py",
    "retries.py",
}
FILES = sorted(
    path for room in ("assets", "orchestration", "resources") for path in (PROJECT / room).rglob("*.py")
)


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_run_one_way(path: Path) -> None:
    parts = path.relative_to(PROJECT).parts
    forbidden: set[str] = set()
    if parts[0] == "resources":
        forbidden = {"assets", "orchestration"}
    elif parts[0] == "assets":
        forbidden = {"orchestration"}
        if parts[1] in STAGES:
            forbidden |= {f"assets.{stage}" for stage in STAGES[STAGES.index(parts[1]) + 1 :]}
        else:
            forbidden |= {f"assets.{stage}" for stage in STAGES}
    for module in imported(path):
        for one in forbidden:
            assert module != one and not module.startswith(f"{one}."), f"{path.name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_methods_do_not_know_dagster(path: Path) -> None:
    parts = path.relative_to(PROJECT).parts
    is_door = (
        parts[0] == "orchestration"
        or parts[-1] in DOORS
        or (parts[0] == "assets" and len(parts) == 2 and parts[1] in DAGSTER_IN_ASSETS)
        or parts == ("resources", "definitions.py")
    )
    if not is_door:
        assert not any(module.split(".")[0] == "dagster" for module in imported(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_postponed_annotations(path: Path) -> None:
    assert "__future__" not in set(imported(path)), "Dagster reads annotations of assets and resources"
