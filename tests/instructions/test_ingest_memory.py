"""Sources of any size in bounded memory, from the file to sorted tables: what a row may cost is given here.

The goal is a million rows in less than 1,000 MB (of 1,000,000 bytes), to read them and to sort them.

SULTANA_INGEST_ROWS=1000000 makes it the million (some minutes), SULTANA_SOURCE_MEGABYTES=5000 the large source.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from assets.instructions.starter.corpus import write_starter

PROJECT = Path(__file__).resolve().parents[2]
ROWS = int(os.environ.get("SULTANA_INGEST_ROWS", "120000"))
MEGABYTES = int(os.environ.get("SULTANA_SOURCE_MEGABYTES", "300"))
SEED = 8
FIXED_BYTES = 560_000_000
ROW_BYTES = 440
"""What a row may cost at most in memory, besides what is fixed: together the goal, of a million rows."""

INGEST = """
import json, sys
from resources.environment import apply_safe_defaults
apply_safe_defaults()
import dagster as dg
from orchestration.definitions import defs
from orchestration.instance import open_instance
from resources.definitions import data_folder
from resources.memory import peak_mebibytes
config = {"ops": json.loads(sys.argv[2]), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
with open_instance(data_folder()) as instance:
    done = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, run_config=config, asset_selection=[dg.AssetKey(one) for one in sys.argv[1].split(",")]
    )
assert done.success
print(int(peak_mebibytes() * 1024**2))
"""
READ = """
import sys
from assets.instructions.raw import ReadCounts, SourceSpec, read_sources
from resources.memory import peak_mebibytes
before = peak_mebibytes()
counts = ReadCounts()
for _ in read_sources([SourceSpec("large", sys.argv[1])], counts=counts):
    pass
print(counts.rows, counts.readable, int(peak_mebibytes() - before))
"""


def run(program: str, *arguments: str, data: Path | None = None) -> list[int]:
    """What a program in a process of its own says: numbers."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    if data is not None:
        environment |= {"SULTANA_DATA": str(data), "DAGSTER_HOME": str(data / "dagster")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=3_000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return [int(one) for one in done.stdout.split()]


def write_rows(path: Path, rows: int) -> None:
    """Rows of which one in twelve is there already, one in ten nearly, and one in fifty cannot be read."""
    draw = random.Random(SEED)
    words = [
        "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 9)))
        for _ in range(20_000)
    ]
    known: list[tuple[str, str]] = []
    with path.open("w") as file:
        for _ in range(rows):
            chance = draw.random()
            if known and chance < 0.18:
                prompt, answer = draw.choice(known)
                if chance > 0.08:
                    parts = answer.split(" ")
                    parts.pop(draw.randrange(len(parts)))
                    answer = " ".join(parts)
            else:
                prompt = " ".join(draw.choices(words, k=draw.randint(8, 20)))
                answer = " ".join(draw.choices(words, k=draw.randint(30, 60)))
                if len(known) < 20_000:
                    known.append((prompt, answer))
            output: object = 5 if chance > 0.98 else answer
            file.write(json.dumps({"instruction": prompt, "input": "", "output": output}) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_what_a_row_costs_in_memory_from_file_to_sorted_tables(tmp_path: Path) -> None:
    sys.stdout.write(f"{ROWS:,} rows, seed {SEED}\n")
    write_rows(tmp_path / "rows.jsonl", ROWS)
    splits = write_starter(tmp_path / "starter", seed=SEED, rows=400).splits
    data = tmp_path / "data"
    data.mkdir()
    named = {split: [{"name": split, "path": str(path)}] for split, path in splits.items()}
    run(
        INGEST, "benchmark_splits,retractions", json.dumps({"benchmark_splits": {"config": named}}), data=data
    )
    sources = {
        "raw_instructions": {"config": {"sources": [{"name": "rows", "path": str(tmp_path / "rows.jsonl")}]}}
    }
    for assets, config in (
        ("raw_instructions", sources),
        ("instructions,quarantine,dropped_instructions", {}),
    ):
        most = FIXED_BYTES + ROWS * ROW_BYTES
        (peak,) = run(INGEST, assets, json.dumps(config), data=data)
        sys.stdout.write(f"{assets}: at most {peak / 1e6:,.0f} MB, {most / 1e6:,.0f} allowed\n")
        assert peak <= most, assets


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_memory_does_not_follow_the_size_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    text = "".join(random.Random(SEED).choices("abcdefgh ", k=16_000))
    rows = (MEGABYTES << 20) // 16_060
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"prompt": f"Question {number}", "completion": text}) + "\n")
    try:
        read, readable, grown = run(READ, str(path))
        sys.stdout.write(f"{path.stat().st_size:,} bytes in {read:,} rows: {grown:,} MiB more\n")
        assert read == readable == rows and grown < 150
    finally:
        path.unlink()
