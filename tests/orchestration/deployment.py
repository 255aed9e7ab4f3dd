"""A small deployment for tests: sources in a file that can be edited, and runs of the smoke preset on them."""

import copy
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from rich.console import Console

from assets.instructions.starter_files import starter_files
from assets.materialized import materializations
from assets.partitions import materialized_partitions
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from orchestration.staleness import why_stale
from resources.definitions import Storage


def append_row(file: Path, instruction: str = "Say yes.", output: str = "yes") -> None:
    """Adds a row to a file of JSON Lines."""
    with file.open("ab") as stream:
        stream.write(orjson.dumps({"instruction": instruction, "input": "", "output": output}) + b"\n")


def change_rows(data: Path, file: Path, count: int) -> None:
    """Gives `count` rows of a source that are kept, and have no duplicate, another response."""
    with open_instance(data) as instance:
        ref = materializations(instance, "instructions")[0].table("instructions")
    found = Storage(folder=str(data)).tables().read(ref, columns=["origins"])["origins"].to_pylist()
    places = [one[0]["position"] - 1 for one in found if len(one) == 1 and one[0]["file"] == file.name]
    lines = file.read_bytes().splitlines(keepends=True)
    for place in places[:count]:
        row = orjson.loads(lines[place])
        lines[place] = orjson.dumps({**row, "output": f"{row['output']} And one more sentence."}) + b"\n"
    file.write_bytes(b"".join(lines))


class Deployment:
    """A data folder, a source file that can be edited, and runs of the smoke preset on it."""

    def __init__(self, folder: Path, rows: int = 400) -> None:
        self.folder = folder / "data"
        made = starter_files(folder / "starter", seed=0, rows=rows)
        self.source = folder / "source.jsonl"
        self.source.write_bytes(b"".join(path.read_bytes() for path in made.instructions[:1]))
        self.splits = {split: (str(path),) for split, path in made.splits.items()}

    def copied(self, folder: Path) -> "Deployment":
        """The same in another folder, of the same source file; models are shared."""
        shutil.copytree(self.folder, folder, symlinks=True)
        made = copy.copy(self)
        made.folder = folder
        return made

    def run(self, to: str = "", strategy: str = "random", **settings: dict[str, Any]) -> None:
        """`sultana run`, with settings by op over those of the preset."""
        config = self.folder / "settings.yaml"
        config.write_text(yaml.safe_dump({"ops": {op: {"config": one} for op, one in settings.items()}}))
        request = Request(
            preset="smoke",
            config=config,
            sources=[str(self.source)],
            splits=self.splits,
            strategies=[strategy],
            seeds=[0],
            to=to,
        )
        with (self.folder / "console.txt").open("w") as file:
            run_request(request, Console(file=file))

    def change_rows(self, count: int = 1) -> None:
        """Gives `count` rows that are kept, and have no duplicate, another response."""
        change_rows(self.folder, self.source, count)

    def stale(self, definitions: dg.Definitions = defs) -> set[str]:
        """Assets and partitions that are stale; Dagster has to say the same of each."""
        repository = definitions.get_repository_def()
        graph = repository.asset_graph
        found = set()
        with open_instance(self.folder) as instance:
            dagster = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            for key in graph.get_all_asset_keys():
                name = key.to_user_string()
                node = graph.get(key)
                for one in materialized_partitions(instance, name) if node.is_partitioned else [None]:
                    last = materializations(instance, name, one)
                    if not last:
                        continue
                    made = last[0]
                    reason = why_stale(instance, repository, made)
                    assert bool(reason) == (dagster.get_status(key, one) is StaleStatus.STALE), reason
                    if reason:
                        found.add(f"{name} {one}" if one else name)
        return found
