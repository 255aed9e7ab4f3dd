"""The rows that benchmarks read: JSON Lines of instruction, input and output."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_corpus(folder: Path, rows: int) -> tuple[Path, str]:
    """Write `rows` rows at most, evenly spaced over what there is; the file and where they come from."""
    shared = os.environ.get("SULTANA_SHARED_DATA")
    if shared and (Path(shared) / "instructions").is_dir():
        found, source = list(_shared(Path(shared) / "instructions")), "SULTANA_SHARED_DATA"
    else:
        found, source = list(_starter(folder, rows)), "starter corpus"
    step = max(1, len(found) // rows)
    corpus = folder / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for row in found[::step][:rows]:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return corpus, source


def _shared(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rb") as file:
            for line in file:
                row = json.loads(line)
                if isinstance(row.get("output"), str) and isinstance(row.get("instruction"), str):
                    yield _row(row)


def _starter(folder: Path, rows: int) -> Iterator[dict[str, str]]:
    from assets.instructions.raw import read_source
    from assets.instructions.specs import SourceSpec
    from assets.instructions.starter.corpus import write_starter

    files = write_starter(folder / "starter", rows=max(200, rows + rows // 10))
    for path in files.instructions:
        for row in read_source(SourceSpec(name=path.stem, uri=str(path))):
            if not row["problem"]:
                contents = [turn["content"] for turn in row["messages"] if turn["role"] != "system"]
                yield {"instruction": "\n".join(contents[:-1]), "input": "", "output": contents[-1]}


def _row(row: dict[str, Any]) -> dict[str, str]:
    return {"instruction": row["instruction"], "input": row.get("input") or "", "output": row["output"]}
