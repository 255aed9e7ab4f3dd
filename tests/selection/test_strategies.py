"""Every strategy is listed once, says what it needs, and fills the ledger through its inputs alone."""

from pathlib import Path
from typing import Any

import pytest
from small_inputs import asked_nothing, small_inputs

from assets.ledger import Curriculum, Entry, Selection
from assets.partitions import STRATEGIES
from assets.selection.config import CurriculumConfig, RaisePreset, RaiseSettings
from assets.selection.pool import Budget
from assets.selection.raise_curriculum import MOST_ALIGNED, alignment, measure_every
from assets.selection.requirements import check, check_budget, repeat_cap, steps_of
from assets.selection.soundness import soundness
from assets.selection.strategies import REGISTRY, SHARED_SETTINGS
from resources.errors import SultanaError
from resources.language_model import LanguageModel

STATIC = [name for name, one in REGISTRY.items() if not one.dynamic and "training" not in one.needs]


@pytest.fixture(scope="module")
def model(models_folder: Path) -> LanguageModel:
    return LanguageModel(folder=models_folder, dtype="float32")


@pytest.fixture(scope="module")
def store_of_features(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from assets.selection.auxiliary import FeatureStore
    from resources.tables import LanceTables

    return FeatureStore(LanceTables(tmp_path_factory.mktemp("lance")), "run")


def test_partitions_and_registry_list_the_same_strategies() -> None:
    assert tuple(REGISTRY) == STRATEGIES
    assert all(name == one.name for name, one in REGISTRY.items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_says_what_it_is(name: str) -> None:
    one = REGISTRY[name]
    assert one.title and one.title[0].isupper()
    # Whoever is copied is cited; random and full are nobody's.
    assert bool(one.source) == (name not in ("random", "full"))
    assert one.settings | SHARED_SETTINGS <= set(CurriculumConfig.model_fields)
    assert name not in CurriculumConfig.model_fields or name in one.settings


@pytest.mark.parametrize("name", STATIC)
def test_a_strategy_fills_the_ledger_and_asks_for_what_it_names(
    name: str, model: LanguageModel, store_of_features: Any
) -> None:
    one = REGISTRY[name]
    config = CurriculumConfig(steps=3, batch_size=2, dsir={"buckets": 50}, alpagasus={"threshold": 7})
    given: dict[str, Any] = {"store": store_of_features}
    if "vectors" not in one.needs:
        given["read_vectors"] = asked_nothing
    if not one.score_columns(config):
        given["read_scores"] = asked_nothing
    if "reward" not in one.needs:
        given["rewards"] = ()
    steps = steps_of(name, 3, 2, 1, 10)
    inputs = small_inputs(model, steps=steps, **given)
    chosen = one.select(inputs, config)
    assert [step.step for step in chosen.selections] == list(range(5 if name == "full" else 3))
    curriculum = Curriculum("c", name, 3, chosen.selections)
    found = soundness(curriculum, inputs.pool.row_ids, steps=steps, batch_size=2, cap=1)
    assert found.holds and found.distinct_rows == 2 * steps
    assert all(entry.reason for step in chosen.selections for entry in step)
    if "features" not in one.needs and "auxiliary" not in one.needs:
        assert inputs.known_losses() is None
    # The same inputs give the same curriculum.
    again = small_inputs(model, steps=steps, **given)
    assert one.select(again, config).selections == chosen.selections


def test_a_stand_in_is_said_aloud(model: LanguageModel) -> None:
    inputs = small_inputs(model)
    plain = CurriculumConfig(steps=2, batch_size=2)
    for name in ("deita", "kmeans_quality"):
        chosen = REGISTRY[name].select(inputs, plain)
        assert "stands in" in str(chosen.facts)
        assert "length" in chosen.selections[0].entries[0].reason
    scored = CurriculumConfig(
        steps=2,
        batch_size=2,
        deita={"complexity": "complexity", "quality": "quality"},
        kmeans_quality={"column": "quality"},
    )
    for name in ("deita", "kmeans_quality"):
        assert "stands in" not in str(REGISTRY[name].select(inputs, scored).facts)


def test_what_a_strategy_left_out_is_counted(model: LanguageModel) -> None:
    config = CurriculumConfig(steps=1, batch_size=2, alpagasus={"column": "quality", "threshold": 8.5})
    chosen = REGISTRY["alpagasus"].select(small_inputs(model, steps=1), config)
    # Ratings are 5 to 12 for row-0 to row-7, and 5.25 and 8.5 for the mixes.
    assert sum(chosen.excluded.values()) == 5


def test_needs_are_checked_before_any_work() -> None:
    config = CurriculumConfig()
    with pytest.raises(
        SultanaError, match="alpagasus reads the score column 'rating'; the instructions have none"
    ):
        check(REGISTRY["alpagasus"], config, {}, 10)
    with pytest.raises(SultanaError, match="have complexity, quality"):
        check(REGISTRY["alpagasus"], config, {"quality": 5, "complexity": 5}, 10)
    with pytest.raises(SultanaError, match="names no score column"):
        check(REGISTRY["alpagasus"], CurriculumConfig(alpagasus={"column": ""}), {}, 10)
    check(REGISTRY["alpagasus"], config, {"rating": 1}, 0)
    check(REGISTRY["deita"], config, {}, 0)
    with pytest.raises(SultanaError, match="deita reads the score column 'quality'"):
        check(REGISTRY["deita"], CurriculumConfig(deita={"quality": "quality"}), {}, 0)
    for name in ("raise", "less", "gradient_alignment", "dsir"):
        with pytest.raises(SultanaError, match=f"Strategy {name} selects for the split 'reward'"):
            check(REGISTRY[name], config, {}, 0)
        check(REGISTRY[name], config, {}, 1)


def test_a_strategy_that_decides_at_each_step_needs_rows_to_choose_from() -> None:
    raising, budget = REGISTRY["raise"], Budget(5, 2)
    with pytest.raises(SultanaError, match="leave it no choice in a pool of 9"):
        check_budget(raising, budget, 9)
    check_budget(raising, budget, 10)
    check_budget(raising, Budget(5, 2, 2), 6)
    check_budget(raising, budget, 9, unlimited=True)
    check_budget(REGISTRY["random"], budget, 2)


def test_how_often_a_row_may_come() -> None:
    config = CurriculumConfig(passes=3)
    assert repeat_cap(REGISTRY["gradient_alignment"], config) == 3
    assert repeat_cap(REGISTRY["raise"], config) == 3
    assert repeat_cap(REGISTRY["raise"], CurriculumConfig(policy={"preset": "paper"})) is None
    assert repeat_cap(REGISTRY["longest"], config) is None


def test_gradients_are_taken_of_every_row_only_where_they_fit_in_memory() -> None:
    def asked(rows: int, method: str = "lora", **settings: Any) -> tuple[int | None, bool]:
        return alignment(rows, method, RaiseSettings(**settings))

    assert asked(MOST_ALIGNED) == (0, True) and asked(MOST_ALIGNED + 1) == (MOST_ALIGNED, False)
    assert (
        asked(10, preset=RaisePreset.paper)
        == asked(10, "full")
        == asked(10, aligned_rows=-1)
        == (None, False)
    )
    assert asked(10**6, aligned_rows=0) == (0, True)
    assert asked(10, aligned_rows=4) == (4, False) and asked(10, alignment_column=False) == (0, False)


@pytest.mark.parametrize(
    ("steps", "settings", "every"),
    [
        (16, {}, 1),
        (17, {}, 2),
        (57, {}, 4),
        (57, {"preset": RaisePreset.paper}, 1),
        (57, {"measure_every": 3}, 3),
    ],
)
def test_long_runs_are_measured_less_often(steps: int, settings: dict[str, Any], every: int) -> None:
    assert measure_every(steps, RaiseSettings(**settings)) == every


def test_full_takes_the_steps_that_its_passes_need() -> None:
    assert steps_of("full", 7, 4, 1, 10) == 3
    assert steps_of("full", 7, 4, 2, 10) == 5
    assert steps_of("random", 7, 4, 2, 10) == 7


def ledger(*steps: str) -> Curriculum:
    def entry(row_id: str) -> Entry:
        return Entry(row_id, "original", 0, 0.0, 1.0, "chosen", "0" * 64)

    return Curriculum(
        "c", "raise", 0, tuple(Selection(step, tuple(map(entry, rows))) for step, rows in enumerate(steps))
    )


def test_an_unsound_ledger_is_found() -> None:
    def holds(curriculum: Curriculum, *, steps: int = 2, batch_size: int = 2, cap: int | None = 1) -> bool:
        return soundness(curriculum, set("abcd"), steps=steps, batch_size=batch_size, cap=cap).holds

    assert holds(ledger("ab", "cd"))
    assert not holds(ledger("ab", "cd"), steps=3)
    assert not holds(ledger("ab", "cd"), batch_size=4)
    assert not holds(ledger("ab", "cx"))  # not in the pool
    assert not holds(ledger("ab", "cc"), cap=2)  # twice in a batch
    assert not holds(ledger("ab", "ad"))  # oftener than allowed
    assert holds(ledger("ab", "ad"), cap=2) and holds(ledger("ab", "ad"), cap=None)
    found = soundness(ledger("ab", "ad"), set("abd"), steps=2, batch_size=2, cap=None)
    assert (found.distinct_rows, found.most_repeats) == (3, 2)
