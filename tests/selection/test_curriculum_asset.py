"""The asset `curriculum` on the real graph, in small: ledgers of several strategies, reuse, refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from assets.ledger import read_curriculum
from assets.materialized import Materialized, materializations
from assets.partitions import partition_key
from orchestration.instance import open_instance
from orchestration.run import Request, run_request
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.text import id_filter

PICTURES = ("clusters_over_steps", "tasks_over_steps", "lengths_over_steps", "repeats")
STRATEGIES = ("random", "full", "alpagasus", "sspl", "superfiltering", "raise")
THINGS = ("apple", "river", "engine", "violin", "cloud", "ladder", "candle", "harbour")
SMALL: dict[str, Any] = {
    "benchmark_splits": {"starter": {"rows": 200}, "maximum_examples": 8},
    "interpolated_instructions": {"count": 12},
    "diversity_clusters": {"clusters": 3},
}
CURRICULUM: dict[str, Any] = {
    "steps": 2,
    "batch_size": 4,
    "candidates": 16,
    "maximum_length": 96,
    "reward_examples": 3,
    "training": {"top_layers": 2, "rank": 2, "learning_rate": 1e-3},
    "alpagasus": {"threshold": 2.0},
    "policy": {"rounds": 1, "rollouts": 1, "baseline_rollouts": 0, "warm_up": 1},
}


class Workplace:
    """A data folder, and runs in it up to `curriculum`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = [
            {
                "instruction": f"Write {number} words about the {thing} that stands {place}.",
                "output": " ".join([thing, place] * number),
                "rating": number + 0.5,
            }
            for thing in THINGS
            for number, place in enumerate(("here", "there", "outside", "behind the house"), 1)
        ]
        (folder / "rated.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run(self, *strategies: str, **changes: Any) -> str:
        """Materializes curricula; returns what was said."""
        ops = {name: {"config": config} for name, config in SMALL.items()}
        rated = {"name": "rated", "path": str(self.folder / "rated.jsonl"), "score_fields": ["rating"]}
        ops["raw_instructions"] = {"config": {"sources": [rated]}}
        ops["curriculum"] = {"config": CURRICULUM | changes}
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump({"ops": ops}))
        console = Console(record=True, width=200, file=open(self.folder / "console.txt", "w"))  # noqa: SIM115
        request = Request(preset="smoke", config=config, strategies=strategies, seeds=(0,), to="curriculum")
        run_request(request, console)
        return console.export_text()

    def made(self, strategy: str) -> Materialized:
        """The newest curriculum of a strategy."""
        with open_instance(self.folder) as instance:
            return materializations(instance, "curriculum", str(partition_key(strategy, 0)))[0]

    def curriculum(self, strategy: str) -> Any:
        """Its ledger as stored."""
        made = self.made(strategy)
        identity = made.record["facts"]["curriculum_id"]
        tables = Storage(folder=str(self.folder)).tables()
        return read_curriculum(tables.read(made.table(), filter=id_filter("curriculum_id", [identity])))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("curricula")
    (folder / "models").symlink_to(models_folder, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(folder))
        found = Workplace(folder)
        found.run(*STRATEGIES)
        yield found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_writes_its_ledger(workplace: Workplace, strategy: str) -> None:
    made, found = workplace.made(strategy), workplace.curriculum(strategy)
    facts = made.record["facts"]
    assert found.strategy == strategy and found.batch_size == facts["batch_size"] == 4
    assert len(found.steps) == facts["steps"] == (4 if strategy == "full" else 2)
    rows = {row for step in found.steps for row in step.row_ids}
    assert len(rows) == (16 if strategy == "full" else 8) == made.metadata["distinct_rows"].value
    for picture in PICTURES:
        assert "data:image/png;base64" in str(made.metadata[picture].value)
    scored = strategy in ("sspl", "superfiltering", "raise")
    assert ("difficulty_over_steps" in made.metadata) == scored
    assert ("score_and_gain" in made.metadata) == (strategy == "raise")
    recorded = made.record["facts"]["reward_losses"]
    assert (recorded is not None) == (strategy == "raise")
    if recorded:
        shown = [made.metadata[f"reward_loss_{one}"].value for one in ("before", "after")]
        assert [recorded["losses"][0], recorded["losses"][-1]] == pytest.approx(shown, rel=1e-5)
        assert [recorded["after_steps"][0], recorded["after_steps"][-1]] == [0, made.record["facts"]["steps"]]


def test_ratings_come_from_the_source(workplace: Workplace) -> None:
    found = [entry for step in workplace.curriculum("alpagasus").steps for entry in step]
    # Rows are rated 1.5 to 4.5, the mixes in between; the threshold is 2.
    assert all(2.0 <= entry.score <= 4.5 for entry in found)
    assert {entry.score % 1 for entry in found if entry.kind == "original"} == {0.5}


def test_rows_are_scored_once_for_all_strategies(workplace: Workplace) -> None:
    spent = {name: workplace.made(name).record["facts"]["spent"] for name in STRATEGIES}
    assert spent["random"]["rows_scored"] == spent["full"]["rows_scored"] == 0
    assert spent["sspl"]["rows_scored"] > 0
    assert spent["superfiltering"]["rows_scored"] == spent["raise"]["rows_scored"] == 0
    # A step before the rows' gradients, one gathered run and the deployed one, of two steps; rewards before each
    # run and after each step; the gradient of every row.
    assert spent["raise"]["training_steps"] == 5 and spent["raise"]["training_rows"] == 20
    assert spent["raise"]["reward_measurements"] >= 4 and spent["raise"]["rows_differentiated"] >= 16
    assert workplace.made("raise").metadata["training_steps_spent"].value == 5


def test_a_curriculum_is_of_its_own_settings_alone(workplace: Workplace) -> None:
    said = workplace.run("random", "sspl", policy={"rounds": 2}, deita={"threshold": 0.5})
    assert said.count("curriculum 0|random: unchanged") == said.count("curriculum 0|sspl: unchanged") == 1
    configuration = workplace.made("random").record["configuration"]
    assert "steps" in configuration and "policy" not in configuration and "deita" not in configuration
    assert set(workplace.made("raise").record["configuration"]["policy"]) >= {"rounds", "preset"}


def test_places_of_this_machine_are_not_recorded(workplace: Workplace) -> None:
    made = workplace.made("raise")
    assert str(workplace.folder) not in json.dumps([made.record["configuration"], made.record["facts"]])
    folder = Path(str(made.metadata["policy_folder"].value))
    assert (folder / "policy.safetensors").is_file()
    # What only a run broken off needs is gone.
    assert list((workplace.folder / "selection").iterdir()) == []


@pytest.mark.slow
def test_a_trained_policy_starts_another(workplace: Workplace) -> None:
    folder = str(workplace.made("raise").metadata["policy_folder"].value)
    policy = {"rounds": 0, "baseline_rollouts": 0, "warm_up": 1, "initial_policy": folder}
    workplace.run("raise", policy=policy)
    facts = workplace.made("raise").record["facts"]
    assert facts["spent"]["training_steps"] == 3  # before the rows' gradients, and the deployed run
    with pytest.raises(SultanaError, match="which is no folder"):
        workplace.run("raise", policy={"initial_policy": "nowhere"})


@pytest.mark.slow
def test_what_cannot_succeed_is_refused_at_once(workplace: Workplace) -> None:
    with pytest.raises(SultanaError, match="reads the score column 'taste'; the instructions have rating"):
        workplace.run("alpagasus", alpagasus={"column": "taste"})
    with pytest.raises(SultanaError, match="leave it no choice in a pool of 16"):
        workplace.run("raise", steps=5)
    workplace.run("raise", steps=5, passes=2)
    assert workplace.made("raise").metadata["most_repeats"].value == 2
