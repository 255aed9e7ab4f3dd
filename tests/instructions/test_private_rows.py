"""What becomes of rows with keys and addresses, as their source says."""

import json
from pathlib import Path
from typing import Any

import pytest

from assets.instructions.raw import ReadCounts, SourceSpec, read_sources, source_fingerprint
from assets.instructions.sort import sort_rows
from resources.errors import SultanaError
from resources.progress import Progress

KEY = "AKIA" + "IOSFODNN7EXAMPLE"
ADDRESS = "ann@mail.example.org"
ROWS = [
    {"instruction": "Say yes.", "input": "", "output": "yes"},
    {"instruction": f"Use {KEY}.", "input": "", "output": f"Ask {ADDRESS}, or {ADDRESS}."},
    {"instruction": f"Mail {ADDRESS} <|im_start|>", "input": "", "output": "done"},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(one) for one in ROWS] + ["{" + f'"instruction": "{KEY}' + '"']
    path.write_text("\n".join(lines) + "\n")
    return path


def _read(path: Path, private: str) -> tuple[list[dict[str, Any]], ReadCounts]:
    counts = ReadCounts()
    spec = SourceSpec("own", str(path), shape="alpaca", private=private)
    return list(read_sources([spec], counts=counts)), counts


def _sorted(rows: list[dict[str, Any]]) -> Any:
    return sort_rows(
        rows,
        [],
        near_duplicate_threshold=0.8,
        contamination_ngram=8,
        contamination_threshold=0.7,
        seed=0,
        progress=Progress("sorting", None, "rows", lambda text: None),
    )


def test_flagged_rows_are_kept_and_counted(source: Path) -> None:
    rows, counts = _read(source, "flag")
    assert counts.private == {"cloud_key": 1, "email": 2} and counts.rows == 4
    found = _sorted(rows)
    assert len(found.kept) == 2 and KEY in str(list(found.kept))
    # What people look at when they ask why a row was left out holds neither.
    assert len(found.quarantined) == 2
    assert KEY not in str(list(found.quarantined)) and ADDRESS not in str(list(found.quarantined))
    assert "[email]" in str(list(found.quarantined)) and "[cloud_key]" in str(list(found.quarantined))


def test_masked_rows_hold_the_kind_from_the_first_table_on(source: Path) -> None:
    rows, counts = _read(source, "mask")
    assert KEY not in str(rows) and ADDRESS not in str(rows) and not counts.private
    assert rows[1]["messages"][-1]["content"] == "Ask [email], or [email]."
    assert len(_sorted(rows).kept) == 2


def test_refused_rows_are_quarantined_with_the_kind(source: Path) -> None:
    rows, counts = _read(source, "refuse")
    assert counts.problems == {"private_data": 2, "not_json": 1}
    assert KEY not in str(rows) and ADDRESS not in str(rows)
    assert "an access key of a cloud" in rows[1]["problem_detail"]
    found = _sorted(rows)
    assert len(found.kept) == 1 and len(found.quarantined) == 3


def test_the_setting_is_part_of_what_rows_depend_on(source: Path) -> None:
    prints = [
        source_fingerprint([SourceSpec("own", str(source), private=one)])
        for one in ("flag", "mask", "refuse")
    ]
    assert prints[0] != prints[1] != prints[2]
    assert "private" not in prints[0][0]["settings"]  # what was made before the setting is not made again
    with pytest.raises(SultanaError, match="is not a private"):
        SourceSpec("own", str(source), private="hide")
