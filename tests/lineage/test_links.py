"""Ten thousand rows of a curriculum, each led back to the very line of the file where its text stands."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from assets.lineage.audit.backward import Backward
from assets.materialized import follow, materializations
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage

ROWS, SAMPLED = 11_000, 10_000


def instruction(number: int) -> dict[str, str]:
    """A row that no other resembles."""
    draw = np.random.default_rng([7, number])
    words = [f"{int(word):x}" for word in draw.integers(1 << 40, size=24)]
    return {"instruction": f"Sort {' '.join(words)}", "output": " ".join(sorted(words))}


def write_sources(folder: Path) -> None:
    """Two files; every tenth row stands in both, and some lines are broken."""
    with (folder / "alpaca.jsonl").open("w") as alpaca, (folder / "messages.jsonl").open("w") as messages:
        for number in range(ROWS):
            row = instruction(number)
            if number % 2 == 0 or number % 10 == 1:
                alpaca.write(json.dumps(row) + "\n")
            if number % 2 == 1:
                turns = [
                    {"role": "user", "content": row["instruction"]},
                    {"role": "assistant", "content": row["output"]},
                ]
                messages.write(json.dumps({"messages": turns}) + "\n")
            if number % 500 == 0:
                messages.write("{broken\n")


def text_of(line: str) -> tuple[str, str]:
    row: dict[str, Any] = json.loads(line)
    if "messages" in row:
        return row["messages"][0]["content"], row["messages"][1]["content"]
    return row["instruction"], row["output"]


@pytest.mark.slow
def test_no_link_from_a_row_trained_on_to_its_line_is_broken(tmp_path: Path, models_folder: Path) -> None:
    data, sources = tmp_path / "data", tmp_path / "sources"
    data.mkdir()
    sources.mkdir()
    (data / "models").symlink_to(models_folder, target_is_directory=True)
    write_sources(sources)
    config = tmp_path / "run.yaml"
    files = [{"name": name, "path": str(sources / f"{name}.jsonl")} for name in ("alpaca", "messages")]
    ops = {
        "raw_instructions": {"config": {"sources": files}},
        "interpolated_instructions": {"config": {"count": 1500}},
        "diversity_clusters": {"config": {"clusters": 8, "representatives": 1.0}},
        "curriculum": {"config": {"steps": 360, "batch_size": 32, "candidates": 0, "maximum_length": 2048}},
    }
    config.write_text(json.dumps({"ops": ops}))
    with pytest.MonkeyPatch.context() as patch, open(os.devnull, "w") as output:
        patch.setenv("SULTANA_DATA", str(data))
        run_request(
            Request(config=config, strategies=("random",), seeds=(0,), to="curriculum"),
            Console(file=output),
        )
        with open_instance(data) as instance:
            curriculum = materializations(instance, "curriculum", "0|random")[0]
            clusters = follow(instance, curriculum, "diversity_clusters")
            backward = Backward(
                Storage().tables(),
                curriculum.table(),
                curriculum.record["facts"]["curriculum_id"],
                instructions=follow(instance, clusters, "instructions").table("instructions"),
                recipes=follow(instance, clusters, "interpolated_instructions").table(),
            )
            texts = {
                row["instruction_id"]: tuple(turn["content"] for turn in row["messages"])
                for batch in backward.tables.batches(backward.instructions)
                for row in batch.to_pylist()
            }
            slots = [row for batch in backward.batches() for row in batch.to_pylist()]
    lines = {one["path"]: Path(one["path"]).read_text().splitlines() for one in files}
    chosen = np.random.default_rng(0).choice(len(slots), SAMPLED, replace=False)
    followed: Counter[str] = Counter()
    for place in chosen:
        for parent in slots[place]["parents"]:
            assert parent["origins"]
            for origin in parent["origins"]:
                (path,) = [one for one in lines if one.endswith(origin["file"].lstrip("/"))]
                line = lines[path][origin["position"] - 1]
                assert text_of(line) == texts[parent["instruction_id"]], (origin, line)
                followed[origin["source"]] += 1
    assert len(slots) >= SAMPLED and set(followed) == {"alpaca", "messages"}
    assert sum(followed.values()) > SAMPLED
