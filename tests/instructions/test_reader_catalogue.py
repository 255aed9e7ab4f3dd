"""The bad-input catalogue: 200 files, each with what comes of it, row by row."""

from pathlib import Path

import pytest

from assets.instructions.raw import RawRow, SourceSpec, read_sources
from assets.instructions.rows import REASONS
from assets.instructions.validate import normalise, problem_in
from resources.errors import SultanaError
from tests.instructions.catalogue.archives import ARCHIVES
from tests.instructions.catalogue.case import GZ, SMALL, Case
from tests.instructions.catalogue.conversations import CONVERSATIONS
from tests.instructions.catalogue.json_documents import DOCUMENTS, JSON
from tests.instructions.catalogue.jsonl_files import JSONL
from tests.instructions.catalogue.parquet_files import PARQUET_FILES
from tests.instructions.catalogue.separated_values import CSV

CASES = [*JSONL, *JSON, *DOCUMENTS, *CSV, *PARQUET_FILES, *ARCHIVES, *CONVERSATIONS]
FILE_REASONS = {"bad_task", "private_data", "unreadable_file"}
"""Reasons that no file alone gives: they come from a setting."""


def outcome(row: RawRow) -> str:
    """What becomes of a row once it is sorted."""
    if row["problem"]:
        return str(row["problem"])
    problem = problem_in(normalise(row["messages"]))
    return problem[0] if problem else "ok"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_outcome(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    path.write_bytes(case.content)
    spec = SourceSpec("here", str(path), format=case.format)
    if isinstance(case.outcome, str):
        with pytest.raises(SultanaError) as caught:
            list(read_sources([spec], limits=SMALL))
        assert case.outcome in str(caught.value)
        assert case.file in caught.value.problem
        assert caught.value.remedy
        return
    rows = list(read_sources([spec], limits=SMALL))
    assert [outcome(row) for row in rows] == case.outcome
    assert len({row["origin_id"] for row in rows}) == len(rows)
    positions = [row["position"] for row in rows]
    assert positions == sorted(set(positions)) and positions[0] >= 1
    for row in rows:
        if row["problem"]:
            assert row["problem"] in REASONS
            assert row["problem_detail"] and row["messages"] is None and row["instruction_id"] is None
            assert row["raw_text"] is not None and row["raw_text"].isprintable()
        else:
            assert row["messages"] is not None and row["instruction_id"] and row["raw_text"] is None


def test_every_reason_has_a_case() -> None:
    found = {reason for case in CASES if isinstance(case.outcome, list) for reason in case.outcome}
    assert found - {"ok"} == set(REASONS) - FILE_REASONS
    assert len({case.id for case in CASES}) == len(CASES) >= 60


def test_nothing_comes_out_before_an_archive_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(GZ[:-500])
    with pytest.raises(SultanaError, match="damaged gzip"):
        next(read_sources([SourceSpec("here", str(path))]))
