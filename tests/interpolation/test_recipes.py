"""MDIT recipes: λ has the distribution of the paper, and a recipe depends on its number alone."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.identity import recipe_id
from assets.interpolation.recipes import draw_recipes
from assets.interpolation.tasks import assign_tasks
from assets.records import INTERPOLATED_INSTRUCTIONS, Record
from resources.errors import SultanaError
from resources.table_refs import Provenance
from resources.tables import LanceTables

IDS = [f"{number * 2654435761 % 2**32:032x}" for number in range(200)]
TASKS = [f"task{min(number % 7, number % 5)}" for number in range(199)] + ["alone"]
TASK_OF = dict(zip(IDS, TASKS, strict=True))
PAIRINGS = ("cross_task", "any", "same_task")


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 2.0, 30.0])
def test_lambda_is_beta(alpha: float) -> None:
    # MDIT digest: E[λ] = 1/2, Var[λ] = 1 / (4 (2 α + 1)).
    count = 20_000
    weights = draw_recipes(IDS, TASKS, count=count, alpha=alpha, seed=3)["lambda"].to_numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weights.mean() - 0.5) < 4 * (variance / count) ** 0.5
    assert weights.var() == pytest.approx(variance, rel=0.04)
    assert 0 < weights.min() <= weights.max() < 1


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("sampling", ["proportional", "uniform"])
def test_pairs_are_as_asked(pairing: str, sampling: str) -> None:
    recipes = draw_recipes(IDS, TASKS, count=5000, pairing=pairing, sampling=sampling, seed=1)
    assert recipes.schema == INTERPOLATED_INSTRUCTIONS.schema
    for row in recipes.to_pylist():
        assert row["parent_a"] != row["parent_b"]
        assert (TASK_OF[row["parent_a"]], TASK_OF[row["parent_b"]]) == (row["task_a"], row["task_b"])
        if pairing != "any":
            assert (row["task_a"] == row["task_b"]) == (pairing == "same_task")
    row = recipes.slice(17, 1).to_pylist()[0]
    assert row["recipe_id"] == recipe_id(
        row["parent_a"], row["parent_b"], row["lambda"], 1, 0, "response_border"
    )


def test_tasks_are_drawn_by_size_or_evenly() -> None:
    sizes = {task: TASKS.count(task) for task in TASKS}
    for sampling, expected in (
        ("proportional", {task: size / 200 for task, size in sizes.items()}),
        ("uniform", dict.fromkeys(sizes, 1 / len(sizes))),
    ):
        drawn = draw_recipes(IDS, TASKS, count=20_000, alpha=0.4, sampling=sampling)["task_a"].to_pylist()
        for task, share in expected.items():
            assert drawn.count(task) / 20_000 == pytest.approx(share, abs=0.012)


def test_every_pair_of_rows_can_be_drawn() -> None:
    recipes = draw_recipes(["a", "b", "c"], ["x", "x", "y"], count=400, pairing="any")
    pairs = set(zip(recipes["parent_a"].to_pylist(), recipes["parent_b"].to_pylist(), strict=True))
    assert len(pairs) == 6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 60), st.integers(1, 40), st.sampled_from(PAIRINGS))
def test_a_recipe_depends_on_its_number_alone(seed: int, first: int, count: int, pairing: str) -> None:
    whole = draw_recipes(IDS, TASKS, count=100, alpha=0.4, pairing=pairing, seed=seed)
    part = draw_recipes(IDS, TASKS, count=count, alpha=0.4, pairing=pairing, seed=seed, first=first)
    assert part.to_pylist() == whole.slice(first, count).to_pylist()


def test_order_of_rows_changes_nothing_and_the_seed_does() -> None:
    rows = list(zip(IDS, TASKS, strict=True))
    random.Random(0).shuffle(rows)
    recipes = draw_recipes(IDS, TASKS, count=500)
    assert draw_recipes([name for name, _ in rows], [task for _, task in rows], count=500) == recipes
    assert draw_recipes(IDS, TASKS, count=500, seed=1) != recipes


def test_recipe_ids_are_unique_even_with_two_rows() -> None:
    recipes = draw_recipes(["a", "b"], ["x", "y"], count=20_000, alpha=0.05)
    names = recipes["recipe_id"].to_pylist()
    assert len(set(names)) == len(names) < 20_000


def test_lambda_of_a_task_pair_is_drawn_once_and_turns_with_it() -> None:
    recipes = draw_recipes(IDS, TASKS, count=3000, lambda_per="task_pair", alpha=1.0, seed=5).to_pylist()
    found: dict[tuple[str, str], set[float]] = {}
    for row in recipes:
        first, second = sorted((row["task_a"], row["task_b"]))
        weight = row["lambda"] if row["task_a"] == first else 1 - row["lambda"]
        found.setdefault((first, second), set()).add(round(weight, 6))
    assert all(len(weights) == 1 for weights in found.values())
    assert len(set.union(*found.values())) == len(found) > 10
    # Whatever other tasks there are, and however much is drawn at once.
    few = {"task0", "task1"}
    rows = [(name, task) for name, task in TASK_OF.items() if task in few]
    part = draw_recipes(
        [name for name, _ in rows],
        [task for _, task in rows],
        count=9,
        lambda_per="task_pair",
        alpha=1.0,
        seed=5,
    )
    for row in part.to_pylist():
        assert row["lambda"] in {
            other["lambda"]
            for other in recipes
            if (other["task_a"], other["task_b"]) == (row["task_a"], row["task_b"])
        }


def test_lambda_of_task_pairs_is_beta_too() -> None:
    names = [f"task {number}" for number in range(300)]
    recipes = draw_recipes(names, names, count=20_000, lambda_per="task_pair", alpha=0.4)
    weights = np.array(
        [row["lambda"] if row["task_a"] < row["task_b"] else 1 - row["lambda"] for row in recipes.to_pylist()]
    )
    assert weights.mean() == pytest.approx(0.5, abs=0.02)
    assert weights.var() == pytest.approx(1 / (4 * 1.8), rel=0.06)


def test_layer_and_alignment_are_part_of_a_recipe() -> None:
    plain = draw_recipes(IDS, TASKS, count=20)
    other = draw_recipes(IDS, TASKS, count=20, layer=3, alignment="start")
    assert set(other["layer"].to_pylist()) == {3} and set(other["alignment"].to_pylist()) == {"start"}
    for name in ("parent_a", "parent_b", "lambda"):
        assert plain[name] == other[name]
    assert not set(plain["recipe_id"].to_pylist()) & set(other["recipe_id"].to_pylist())
    with pytest.raises(ValueError, match="alignment"):
        draw_recipes(IDS, TASKS, count=1, alignment="diagonal")


def test_a_recipe_takes_at_most_64_bytes_beside_its_id(tmp_path: Path) -> None:
    recipes = draw_recipes(IDS, TASKS, count=30_000)
    tables = LanceTables(tmp_path)
    sizes = []
    for record, rows in (
        (INTERPOLATED_INSTRUCTIONS, recipes),
        (
            Record("ids", "recipe_id", recipes.schema.empty_table().select(["recipe_id"]).schema),
            recipes.select(["recipe_id"]),
        ),
    ):
        ref = tables.write(
            record,
            rows,
            mode="overwrite",
            provenance=Provenance("run", "recipes", record.table),
        )
        files = [path for path in tables.path(ref.table).rglob("*.lance") if path.is_file()]
        sizes.append(sum(path.stat().st_size for path in files))
    assert 0 < (sizes[0] - sizes[1]) / recipes.num_rows <= 64


def test_many_recipes_or_none() -> None:
    assert draw_recipes(IDS, TASKS, count=50_000, alpha=0.4).num_rows == 50_000
    assert draw_recipes(IDS, TASKS, count=0) == INTERPOLATED_INSTRUCTIONS.schema.empty_table()


def test_too_few_tasks_or_rows() -> None:
    with pytest.raises(SultanaError, match="two tasks"):
        draw_recipes(["a", "b"], ["x", "x"], count=1)
    with pytest.raises(SultanaError, match="same_task"):
        draw_recipes(["a", "b"], ["x", "y"], count=1, pairing="same_task")
    with pytest.raises(SultanaError, match="any"):
        draw_recipes(["a"], ["x"], count=1, pairing="any")
    with pytest.raises(ValueError, match="has a task"):
        draw_recipes(["a", "b"], ["x", ""], count=1)


def test_rows_without_a_label_get_a_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16))
    of = rng.integers(0, 3, 90)
    points = (centres[of] + 0.05 * rng.normal(size=(90, 16))).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ids = [f"{number:03}" for number in range(90)]
    labels = ["sums" if number < 10 else None for number in range(90)]
    tasks = assign_tasks(ids, labels, points, clusters=3)
    assert tasks[:10] == ["sums"] * 10
    assert len(set(zip(tasks[10:], of[10:].tolist(), strict=True))) == 3
    order = rng.permutation(90)
    shuffled = assign_tasks([ids[n] for n in order], [labels[n] for n in order], points[order], clusters=3)
    assert shuffled == [tasks[n] for n in order]
    everywhere = assign_tasks(ids, labels, points, task_by="clusters", clusters=3)
    assert set(everywhere) == {"cluster_0", "cluster_1", "cluster_2"}
    assert assign_tasks(ids, ["x"] * 90, None) == ["x"] * 90
    with pytest.raises(SultanaError, match="no task label"):
        assign_tasks(ids, labels, None)
