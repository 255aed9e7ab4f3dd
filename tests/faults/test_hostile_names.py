"""Names that are more than names: refused wherever one becomes part of a path, a table, a registry or a partition."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.instructions.raw import SourceSpec
from assets.instructions.sources import resolve
from assets.partitions import check_seed, method_of, parse_key
from resources.errors import SultanaError
from resources.model_reference import parse_reference
from resources.tables import LanceTables
from resources.text import check_name

PROJECT = Path(__file__).resolve().parents[2]
NAMES = [
    "", ".", "..", "../x", "a/../b", "/etc/passwd", "a/b", "a\\b", "C:\\x", "a\0b", "a\nb", "a\rb", "a\tb", "a b", " a",
    "a ", "-a", "--help", ".hidden", "_a", "a..b", "a" * 65, "a" * 100_000, "\u202ea", "a\u200bb", "ａ", "é",
    "a\x1b[2J", "a\x7f", "%2e%2e", "%00", "a;b", "a|b", "$(x)", "`x`", "a'b", 'a"b', "a*b", "a?b", "~", "~root", "a:b",
    "<a>", "{a}", "a@b", "a#b", "a,b", "a=b", "\udcff", "\ud800", "' OR '1'='1",
]  # fmt: skip
USES: dict[str, Callable[[str, Path], object]] = {
    "name": lambda name, folder: check_name(name, "It"),
    "source": lambda name, folder: SourceSpec(name, "a.jsonl"),
    "table": lambda name, folder: LanceTables(folder).path(name),
    "head of a table": lambda name, folder: LanceTables(folder).head(name),
    "strategy": lambda name, folder: method_of(f"raise-{name}"),
    "seed": lambda name, folder: check_seed(name),
    "partition": lambda name, folder: parse_key(f"0|{name}"),
    "version of a model": lambda name, folder: parse_reference(f"m/{name}"),
    "alias of a model": lambda name, folder: parse_reference(f"m@{name}"),
    "owner of a dataset": lambda name, folder: resolve(f"hf://datasets/{name}/x", downloads=folder),
    "dataset": lambda name, folder: resolve(f"hf://datasets/x/{name}", downloads=folder, hub_mirror=folder),
}
LEGAL = {(use, name) for use in ("strategy", "alias of a model") for name in ("-a", "--help", "_a")}
"""Labels and aliases may begin with a hyphen: they stand behind another sign, never at the beginning of a word."""


@pytest.mark.parametrize("use", USES)
def test_no_name_is_more_than_a_name(use: str, tmp_path: Path) -> None:
    for name in NAMES:
        if (use, name) in LEGAL:
            continue
        with pytest.raises(SultanaError) as caught:
            USES[use](name, tmp_path)
        assert str(caught.value).isprintable() or use in ("strategy", "seed", "partition"), name
    assert all("commits.sqlite" in one.name for one in tmp_path.iterdir())


@pytest.mark.parametrize("version", ["9" * 5_000, "0", "-1", "1.0", "１", "1e3", " 1"])
def test_the_number_of_a_version_is_a_number(version: str) -> None:
    with pytest.raises(SultanaError, match="names no model version"):
        parse_reference(f"m/{version}")


def test_nothing_of_a_row_is_written_where_a_spreadsheet_would_calculate_it() -> None:
    """Formulas are harmless in JSON Lines and Parquet; CSV and spreadsheets are written for the starter corpus alone,
    whose rows Sultana makes itself.
    """
    writers = set()
    for folder in ("assets", "orchestration", "resources"):
        for path in (PROJECT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            named = {
                one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute) and _writes_tables(one)
            }
            if named:
                writers.add(path.relative_to(PROJECT).as_posix())
    assert writers <= {"assets/instructions/starter/writing.py"}


def _writes_tables(found: ast.Attribute) -> bool:
    of_csv = (
        isinstance(found.value, ast.Name)
        and found.value.id == "csv"
        and found.attr in ("writer", "DictWriter")
    )
    return of_csv or found.attr in ("to_csv", "to_excel", "write_csv", "to_clipboard")
