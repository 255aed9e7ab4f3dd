"""Whatever is changed behind a model, `audit --verify` finds and names it; and it finds nothing where nothing was.

How many tamperings and honest audits the slow test makes is told by SULTANA_TAMPERINGS (120 where it is not set; honest
audits are never more than 100).
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console
from tampering import KINDS, Scene, undone

from assets.lineage.promotion import PromotionRule
from orchestration.auditing import audit
from orchestration.chains import DAGSTER, MLFLOW
from orchestration.promotion import promote
from orchestration.proving import prove
from orchestration.run import Request, run_request
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tracking import Tracking

TAMPERINGS = int(os.environ.get("SULTANA_TAMPERINGS", "120"))
KEY = "11" * 32
SLOW = pytest.mark.slow
QUICK = {
    *("bit_of_rows", "edited_row", "swapped_rows", "edited_score_of_the_ledger", "edited_commit"),
    *("bit_of_the_model", "edited_parameter", "edited_hash_of_the_manifest", "moved_alias"),
    "edited_configuration_in_dagster",
}
"""One kind for each store and artifact; the others are tried with the slow tests."""


@pytest.fixture(scope="module")
def scene(registered_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    # A copy: the model becomes champion, and a manifest is registered with it.
    data = tmp_path_factory.mktemp("tampering") / "data"
    shutil.copytree(registered_data, data, symlinks=True)
    with pytest.MonkeyPatch.context() as patch, open(data / "console.txt", "a") as output:
        patch.setenv("SULTANA_DATA", str(data))
        patch.setenv("SULTANA_SIGNING_KEY", KEY)
        run_request(
            Request(preset="smoke", strategies=("random",), seeds=(0,), to="lineage_manifest"),
            Console(file=output),
        )
        tracking = Tracking(None, data / "mlflow")
        if "champion" not in tracking.aliases("sultana"):
            promote("sultana", PromotionRule(), Console(file=output), force=True, reason="the only one")
        found = audit("sultana/1", verified=True)
        with tracking.stored("sultana", 1) as artifacts:
            pass
        yield Scene(
            data,
            [TableRef(one["table"], one["version"], one["digest"], 0, "") for one in tables_of(found)],
            artifacts,
            found["model"]["mlflow_run_id"],
        )


def tables_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = found["verification"]["tables"]
    return tables


def problems() -> list[str]:
    """What a verification says; where the lineage cannot even be read, the error."""
    try:
        found = audit("sultana/1", verified=True)["verification"]
    except SultanaError as error:
        return [str(error)]
    assert found["sound"] == (not found["problems"])
    return [f"{one['where']}: {one['problem']}" for one in found["problems"]]


def test_an_honest_model_is_sound(scene: Scene) -> None:
    found = audit("sultana/1", verified=True)
    assert found["verification"]["problems"] == [] and found["manifest"]["agrees"] is True
    assert {one["table"] for one in tables_of(found)} >= {
        *("raw_instructions", "instructions", "interpolated_instructions", "diversity_clusters"),
        *("benchmark_splits", "curriculum", "evaluations", "evaluation_answers", "promotions"),
    }
    assert any("adapter" in name for name in found["verification"]["model_files"])
    assert found["manifest"]["signed_by"] == found["verification"]["signed_by"] != KEY
    # The chain names the files of its tables; with every row, their values are hashed as well.
    of_chain = {ref["table"] for one in found["chain"] for ref in one["tables"]}
    assert all(one["hashed_rows"] == 0 for one in tables_of(found) if one["table"] in of_chain)
    thorough = audit("sultana/1", every_row=True)
    assert thorough["verification"]["problems"] == []
    assert all(one["hashed_rows"] == one["rows"] > 0 for one in tables_of(thorough))


def test_an_audit_needs_no_event_log(scene: Scene) -> None:
    before = audit("sultana/1", verified=True)
    home, aside = scene.data / "dagster", scene.data / "dagster-aside"
    home.rename(aside)
    try:
        found = audit("sultana/1", verified=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        aside.rename(home)
    assert (before["manifest"]["told_by"], found["manifest"]["told_by"]) == (DAGSTER, MLFLOW)
    assert found["verification"]["problems"] == [] and found["manifest"]["agrees"] is True
    for what in ("chain", "totals", "training_set", "retractions"):
        assert found[what] == before[what]
    # Which evaluation is the newest is Dagster's to know: without it all that were made are told.
    assert before["contamination"] and all(row in found["contamination"] for row in before["contamination"])


def test_a_proof_of_a_line_holds_and_what_is_nowhere_is_said(scene: Scene, tmp_path: Path) -> None:
    audit("sultana/1", tmp_path / "rows.jsonl")
    first = orjson.loads((tmp_path / "rows.jsonl").read_bytes().splitlines()[0])["parents"][0]
    origin = first["origins"][0]
    for number, row in enumerate((first["instruction_id"], f"{origin['file']}:{origin['position']}")):
        told = prove("sultana/1", row, tmp_path / str(number))
        assert (told["instruction_id"], told["included"]) == (first["instruction_id"], True) and told["uses"]
        checked = [sys.executable, "-I", "-S", "check_proof.py", "proof.json"]
        command = [*checked, "--manifest-sha256", told["manifest_sha256"]]
        assert subprocess.run(command, cwd=tmp_path / str(number), check=False).returncode == 0
    assert not prove("sultana/1", "0" * 32, tmp_path / "absent")["included"]
    with pytest.raises(SultanaError, match="No source that sultana version 1 was made from has"):
        prove("sultana/1", "nothing.jsonl:3", tmp_path / "nowhere")
    with pytest.raises(SultanaError, match="exists already"):
        prove("sultana/1", first["instruction_id"], tmp_path / "absent")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", [one if one in QUICK else pytest.param(one, marks=SLOW) for one in KINDS])
def test_every_kind_of_tampering_is_found_and_named(scene: Scene, kind: str) -> None:
    with undone(scene):
        words = KINDS[kind](scene, np.random.default_rng(0))
        found = problems()
    assert any(all(word in problem for word in words) for problem in found), (words, found)


def test_nothing_is_left_of_what_was_undone(scene: Scene) -> None:
    assert problems() == []


@pytest.mark.slow
def test_tampering_at_random_is_always_found_and_honesty_never(scene: Scene) -> None:
    missed: list[str] = []
    counts: Counter[str] = Counter()
    order = itertools.cycle(sorted(KINDS))
    for number in range(TAMPERINGS):
        kind = next(order)
        with undone(scene):
            words = KINDS[kind](scene, np.random.default_rng([1, number]))
            found = problems()
        counts[kind] += 1
        if not any(all(word in problem for word in words) for problem in found):
            missed.append(f"{kind} {number}: expected {words}, found {found}")
        if number < 100 and (honest := problems()):
            missed.append(f"false alarm after {kind} {number}: {honest}")
    assert not missed, "\n".join(missed)
    assert len(counts) >= 12
