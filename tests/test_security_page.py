"""SECURITY.md promises nothing that no test stands behind."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    line
    for line in PAGE[PAGE.index("## Defences") : PAGE.index("## Not protected")].splitlines()
    if line.startswith("| ") and not line.startswith("| defence")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_every_defence_names_tests_that_are_there(row: str) -> None:
    _, defence, proof, _ = row.split("|")
    files = re.findall(r"`(tests/[\w/]+\.py)`", proof)
    assert defence.strip() and files
    for file in files:
        assert re.search(r"(?m)^(async )?def test_", (PROJECT / file).read_text(encoding="utf-8")), file


def test_links_lead_somewhere() -> None:
    assert len(ROWS) > 10
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (PROJECT / target).exists(), target
