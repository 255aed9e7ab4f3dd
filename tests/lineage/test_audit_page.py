"""The audit as a page: text of rows stays text, nothing is loaded, one known script runs, attachments are whole."""

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from html_page import Page
from small_tables import CURRICULUM_ID, HOSTILE, Small

from assets.lineage.audit.lineage import Lineage, read_lineage, tell
from assets.lineage.manifest import Chain, manifest_bytes
from assets.lineage.report.audit_page import render_audit

NASTY = HOSTILE + "</script><script>alert(2)</script>"


def link(place: int, asset: str, upstream: dict[str, int], tables: Any = (), **facts: Any) -> dict[str, Any]:
    return {
        "asset": asset,
        "partition": "0|random",
        "storage_id": place,
        "run_id": "run",
        "data_version": "d" * 32,
        "code_version": NASTY,
        "made_at": 1.0,
        "made_by_run": "0f" * 16,
        "started_by": NASTY,
        "environment": {"git_commit": "0" * 40, "git_dirty": True, "packages": {}},
        "configuration": {"note": NASTY},
        "settings": {},
        "upstream": upstream,
        "tables": {ref.table: ref.to_json() for ref in tables},
        "facts": facts,
    }


@pytest.fixture(scope="module")
def lineage(small: Small) -> Lineage:
    sources = small.curriculum_sources
    model = dict.fromkeys(("mlflow_run_id", "files_manifest_sha256", "checkpoint_id"), "c" * 32)
    chain = [
        link(9, "checkpoint", {"curriculum": 8}, model="sultana", version=3, **model),
        link(
            8,
            "curriculum",
            {"diversity_clusters": 7},
            [sources.curriculum],
            curriculum_id=CURRICULUM_ID,
            strategy=NASTY,
        ),
        link(
            7, "diversity_clusters", {"instructions": 5, "interpolated_instructions": 6}, [sources.clusters]
        ),
        link(6, "interpolated_instructions", {"instructions": 5}, [sources.recipes]),
        link(5, "instructions", {}, [sources.instructions]),
    ]
    return read_lineage(Chain(tuple(chain)), small.tables)


@pytest.fixture(scope="module")
def told(lineage: Lineage) -> dict[str, Any]:
    score = {"split": "test", "task": NASTY, "metric": "loss", "examples": 4, "overlapping": 1}
    return {**tell(lineage.chain, lineage, [score]), "totals": lineage.backward.totals()}


def attachments(html: str) -> dict[str, bytes]:
    found = re.findall(r'<a download="([^"]+)" href="data:application/octet-stream;base64,([^"]+)"', html)
    return {name: base64.b64decode(content) for name, content in found}


def test_text_of_rows_stays_text_and_nothing_is_loaded(lineage: Lineage, told: dict[str, Any]) -> None:
    html = render_audit(told, lineage, None)
    page = Page(html)
    assert page.elements.count("script") == 1 and "img" not in page.elements and page.handlers == []
    assert all(address.startswith(("#", "data:application/octet-stream;")) for address in page.addresses)
    assert "url(" not in page.styles and "@import" not in page.styles
    script = html.split("<script>")[1].split("</script>")[0]
    allowed = re.search(r"script-src 'sha256-([^']+)'", html)
    assert allowed and base64.b64decode(allowed[1]) == hashlib.sha256(script.encode()).digest()
    assert "default-src 'none'" in html
    for words in ("onerror=alert(1)", "alert(2)"):
        assert words in page.text  # shown, not run
    assert render_audit(told, lineage, None) == html


def test_the_story_and_the_tables_tell_what_the_ledger_holds(lineage: Lineage, told: dict[str, Any]) -> None:
    text = " ".join(Page(render_audit(told, lineage, None)).text.split())
    assert "in 2 steps. Its training places, 4 in all" in text and "made from 4 instructions" in text
    assert "2 (50.0 %) hold rows that were mixed from two instructions" in text
    assert "part/b.jsonl:1" in text and "CC-BY-4.0" in text and "0.123" in text
    assert "was not checked when it was made" in text and "Not signed" in text
    assert lineage.sha256 in text and lineage.trained_on.tree.root in text


def test_what_was_found_changed_stands_first(lineage: Lineage, told: dict[str, Any]) -> None:
    problem = {"where": NASTY, "problem": "was changed", "remedy": "Restore it"}
    checked = {"sound": False, "problems": [problem], "tables": [], "model_files": {}}
    unsound = {name: value for name, value in told.items() if name != "totals"}
    for known in (lineage, None):
        text = Page(render_audit({**unsound, "verification": checked}, known, None)).text
        assert "Nothing is counted here" in text and "was changed" in text and "Every place" not in text
    damaged = tell(lineage.chain, None)
    assert damaged["training_set"] is None and damaged["model"] == told["model"]
    text = Page(render_audit({**damaged, "verification": checked}, None, None)).text
    assert "was changed" in text and "Merkle" not in text and "check_proof.py" not in text
    sound = {**told, "verification": {**checked, "sound": True, "problems": []}}
    assert "Everything holds" in Page(render_audit(sound, lineage, None)).text


def test_attachments_are_whole(lineage: Lineage, told: dict[str, Any]) -> None:
    signature = {"algorithm": "Ed25519", "signature": "ab" * 64, "public_key": "cd" * 32}
    found = attachments(render_audit(told, lineage, signature))
    assert found["lineage-manifest.json"] == manifest_bytes(lineage.manifest)
    assert b"def check_tree" in found["check_proof.py"]
    proofs = [json.loads(content) for name, content in found.items() if name.startswith("proof-")]
    assert {one["instruction_id"] for one in proofs} == {"apple", "berry", "cherry"}
    assert all(one["manifest_sha256"] == lineage.sha256 and one["signature"] == signature for one in proofs)
