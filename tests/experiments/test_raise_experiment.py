"""The experiment on selection: its pools, its records, its tables, and the commands once, small."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.errors import SultanaError
from tests.experiments import benchmarks, faults_command, pools, raise_command, rewards
from tests.experiments.cache import Cache
from tests.experiments.cost import Meter
from tests.experiments.figure import read_ledger
from tests.experiments.raise_report import summary, tables
from tests.experiments.results import Results, log_to_mlflow, run_id
from tests.experiments.runs import Settings, is_targeted, rewards_of


@pytest.fixture
def real() -> Path:
    folder = benchmarks.shared_folder()
    if folder is None:
        pytest.skip("SULTANA_SHARED_DATA names no folder with real data")
    return folder


def test_a_budget_is_a_share_of_the_pool_passed_over() -> None:
    settings = Settings()
    assert settings.steps(9229, "arc") == settings.steps(9229, None) == 92 // 8
    assert settings.steps(9229, "gsm8k") == 461 // 8
    assert Settings(budget=0.05, passes=3).steps(9229, "mmlu") == 461 * 3 // 8
    assert settings.training(3).seed == 3 and settings.training(3).layers == 6


def test_options_reach_the_strategies_settings() -> None:
    config = Settings().curriculum(7, {"policy.rounds": 2, "deita.threshold": 0.8})
    assert (config.steps, config.policy.rounds, config.deita.threshold) == (7, 2, 0.8)
    assert config.training.top_layers == 6 and config.reward_examples == 32
    for name in ("policy.nothing", "nothing", "steps.nothing"):
        with pytest.raises(SultanaError, match=name):
            Settings().curriculum(7, {name: 2})


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        (["mine"], "'' is no strategy"),
        (["mine", "rndm"], "'rndm' is no strategy"),
        (["raise", "raise", "policy.rounds=2"], "no strategy's name"),
        (["mine", "raise", "policy.rounds"], "takes NAME=VALUE"),
        (["mine", "raise", "policy.rnds=2"], "no setting 'policy.rnds'"),
        (["mine", "random", "policy_of=yours"], "policy_of is of strategy raise, not of random"),
    ],
)
def test_wrong_variants_are_refused_before_any_work(texts: list[str], wrong: str) -> None:
    with pytest.raises((SystemExit, SultanaError), match=wrong):
        raise_command.main(["--strategies", "--variant", *texts])


def test_strategies_that_see_a_reward_are_known() -> None:
    assert {name for name in ("raise", "less", "dsir", "gradient_alignment") if is_targeted(name)} == {
        "raise",
        "less",
        "dsir",
        "gradient_alignment",
    }
    assert not any(is_targeted(name) for name in ("no training", "random", "ifd", "sspl", "deita"))


def test_a_strategy_that_sees_no_reward_is_run_again_for_another_budget() -> None:
    assert rewards_of("raise", ["arc", "gsm8k"]) == ["arc", "gsm8k"]
    assert rewards_of("random", ["arc", "gsm8k", "mmlu"]) == [None, "gsm8k"]
    assert rewards_of("random", ["gsm8k"]) == ["gsm8k"] and rewards_of("random", ["arc"]) == [None]


def test_cache_computes_what_is_missing_and_remembers_its_cost(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    asked: list[int] = []

    def compute(ids: list[str]) -> Any:
        def some(places: list[int]) -> dict[str, np.ndarray]:
            asked.extend(places)
            return {"length": np.array([len(ids[place]) for place in places])}

        return some

    first, second = ["a", "bbb"], ["cc", "bbb", "a"]
    found, seconds = cache.rows("kind", "key", first, compute(first))
    assert found["length"].tolist() == [1, 3] and seconds >= 0
    found, _ = Cache(tmp_path).rows("kind", "key", second, compute(second))
    assert found["length"].tolist() == [2, 3, 1] and asked == [0, 1, 0]
    cache.rows("kind", "another key", first, compute(first))
    assert asked == [0, 1, 0, 0, 1]
    assert cache.json("value", [1], lambda: {"a": 1}) == cache.json("value", [1], lambda: None) == {"a": 1}


def test_meter_takes_inner_parts_out_of_outer_ones() -> None:
    meter = Meter()
    with meter.part("outer"), meter.part("inner"):
        sum(range(2_000_000))
    meter.charge("earlier", 5.0, 3)
    assert meter.seconds["inner"] > 10 * meter.seconds["outer"] >= 0
    assert meter.seconds["earlier"] == 5.0 and meter.counts["earlier"] == 3


def test_lines_survive_a_kill_and_two_writers(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    results.append({"run": "a", "value": 1})
    with results.path.open("a", encoding="utf-8") as file:
        file.write('{"run": "cut o')  # a killed process
    results.append({"run": "b", "value": 2})
    results.append({"run": "a", "value": 3})
    assert results.lines() == [{"run": "a", "value": 3}, {"run": "b", "value": 2}]

    def write(name: int) -> None:
        for number in range(50):
            Results(results.path).append({"run": f"{name} {number}", "text": "x" * 3000})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(results.lines()) == 202


def test_a_run_is_claimed_once(tmp_path: Path) -> None:
    results = Results(tmp_path / "runs.jsonl")
    with results.claimed("x") as mine, Results(results.path).claimed("x") as other:
        assert mine and not other
    with results.claimed("x") as mine:
        assert mine


def test_runs_are_told_apart_by_their_settings() -> None:
    assert run_id({"a": 1, "b": 2}) == run_id({"b": 2, "a": 1}) != run_id({"a": 1, "b": 3})


def line(arm: str, seed: int, loss: float, **changes: Any) -> dict[str, Any]:
    return {
        "run": f"{arm} {seed}",
        "pool": "planted",
        "pool_key": "the first candidates",
        "reward": None,
        "arm": arm,
        "seed": seed,
        "loss": {"GSM8K": loss},
        "accuracy": {"GSM8K": 1 - loss},
        "reward_loss": {"gsm8k": loss},
        "relevant": {"gsm8k": 0.25},
        "relevant_among_candidates": {"gsm8k": 0.2},
        "distinct_rows": 10,
        "pool_rows": 1000,
        "pool_tokens": 4000,
        "tokens": 100,
        "cpu_seconds": {"selecting": 6.0, "final_training": 2.0},
    } | changes


def test_a_run_is_logged_once_to_mlflow(tmp_path: Path) -> None:
    from resources.tracking import Tracking

    described = line("raise", 1, 0.5, settings={"steps": 2}, options={}, commit=None, strategy="raise")
    for _ in range(2):
        log_to_mlflow(tmp_path, "raise", described, [0.75, 0.5])
    with Tracking(None, tmp_path, experiment="raise").client() as client:
        known = client.get_experiment_by_name("raise")
        (run,) = client.search_runs([known.experiment_id])
        history = client.get_metric_history(run.info.run_id, "training_loss")
    assert run.info.status == "FINISHED" and run.data.params["arm"] == "raise"
    assert run.data.metrics["loss.GSM8K"] == 0.5
    assert [(one.step, one.value) for one in history] == [(0, 0.75), (1, 0.5)]
    log_to_mlflow(tmp_path, "raise", described | {"commit": "made again by other code"}, [0.7])
    with Tracking(None, tmp_path, experiment="raise").client() as client:
        assert len(client.search_runs([known.experiment_id])) == 2


def test_gains_are_paired_by_seed_and_costs_are_in_full_trainings() -> None:
    lines = [line("random", seed, loss, reward="gsm8k") for seed, loss in ((0, 0.5), (1, 0.75))]
    lines.append(line("random", 0, 0.1))  # of another budget
    lines += [line("raise", seed, loss, reward="gsm8k") for seed, loss in ((1, 0.5), (0, 0.25), (7, 0.125))]
    (found,) = summary(lines, ["alpaca", "planted"], ["gsm8k", "mmlu"])
    assert found["phi_cpu_seconds"] == pytest.approx(2.0 / 100 * 4000 * 3)
    plain, arm = found["arms"]
    assert "loss_gain" not in plain and arm["seeds"] == [1, 0, 7]
    assert arm["loss_gain"] == arm["accuracy_gain"] == {"mean": 0.25, "half": 0.0}
    assert arm["selecting_phi"] == pytest.approx(6 / 240)
    text = tables([found])
    assert "| raise | 3 | +0.250 ± 0.000 | 25% | 0.025 |" in text
    assert "+0.2500 ± 0.0000" in text and "20% are relevant" in text and "Φ = 240" in text
    assert tables([]) == "Nothing has been run with these settings."


def test_runs_on_another_device_are_compared_among_themselves() -> None:
    lines = [line("random", 0, 0.5, reward="gsm8k"), line("random", 0, 0.75, reward="gsm8k", device="cuda")]
    lines.append(line("raise", 0, 0.5, reward="gsm8k", device="cuda"))
    here, there = summary(lines, ["alpaca", "planted"], ["gsm8k"])
    assert [arm["arm"] for arm in here["arms"]] == ["random"] and here["phi_cpu_seconds"] is not None
    assert there["arms"][1]["loss_gain"]["mean"] == 0.25 and there["phi_cpu_seconds"] is None
    assert "### Pool planted on cuda: gain" in tables([here, there])


def test_runs_are_compared_with_those_that_saw_the_same_candidates() -> None:
    lines = [line("random", seed, 0.5, reward="gsm8k") for seed in (0, 1)]
    lines += [
        line(arm, 0, loss, reward="gsm8k", pool_key="others")
        for arm, loss in (("dsir", 0.25), ("random", 1.0))
    ]
    first, others = summary(lines, ["planted"], ["gsm8k"])
    assert [arm["arm"] for arm in first["arms"]] == ["random"]
    assert others["arms"][0]["loss_gain"]["mean"] == 0.75
    assert "### Pool planted, candidates 2: gain" in tables([first, others])


def test_the_tables_on_record_are_those_of_the_lines_on_record() -> None:
    folder = Path(__file__).parent / "measured"
    lines = [one for name in ("raise", "raise_cuda") for one in Results(folder / f"{name}.jsonl").lines()]
    assert {one["settings"]["candidates"] for one in lines} == {Settings().candidates}
    found = summary(lines, raise_command.POOLS, list(rewards.REWARDS))
    assert tables(found) + "\n" == (folder / "raise.md").read_text(encoding="utf-8")
    faulty = faults_command.table(Results(folder / "faults.jsonl").lines())
    assert faulty + "\n" == (folder / "faults.md").read_text(encoding="utf-8")


def test_rows_count_as_relevant_by_task_in_the_planted_pool_only() -> None:
    rows = {
        "a": {"source": "flan_cot_33k", "task": "aqua_train"},
        "b": {"source": "superni_13k", "task": "task591_sciq_answer_generation"},
        "c": {"source": "alpaca_random_9k", "task": None},
    }
    pool = pools.PoolRows("planted", "", None, rows, {}, np.zeros((3, 1)), 0.0, 0)  # type: ignore[arg-type]
    assert pool.relevant("aac", "gsm8k") == pytest.approx(2 / 3)
    assert pool.relevant("abc", "arc") == pytest.approx(1 / 3)
    assert pool.relevant("abc", "union") == pytest.approx(2 / 3)
    assert pools.sources_of(pool, "aab") == {"flan_cot_33k: aqua_train": 2, "superni_13k": 1}
    other = pools.PoolRows("alpaca", "", None, rows, {}, np.zeros((3, 1)), 0.0, 0)  # type: ignore[arg-type]
    assert other.relevant("abc", "gsm8k") is None


def test_real_tasks_that_count_as_relevant_exist(real: Path) -> None:
    known = {"worked arithmetic"}
    for name in ("superni_tasks", "flan_cot_33k"):
        known |= {row["task"] for row in benchmarks.json_lines(real / "instructions" / f"{name}.jsonl.gz")}
    for reward, tasks in pools.RELEVANT.items():
        assert tasks <= known, reward


def test_real_rewards_hold_no_scored_question(real: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    scored = rewards.scored_set(8, cache)
    assert len(scored) == 32
    starter = rewards.reward_set("starter", 3, cache) + rewards.scored_set(3, cache, starter=True)
    assert [one.benchmark for one in starter] == ["starter"] * 6
    union = rewards.reward_set("union", 8, cache)
    assert [one.benchmark for one in union] == [name for name in rewards.REWARDS["union"] for _ in range(2)]
    assert {one.benchmark for one in union} == {one.benchmark for one in scored}
    alone = rewards.reward_set("mmlu", 8, cache)
    assert len(alone) == 8 and {one.text for one in union if one.benchmark == "MMLU"} <= {
        one.text for one in alone
    }
    copied = [benchmarks.Question("MMLU", f"Please answer. {scored[0].prompt}", scored[0].response)]
    assert benchmarks.apart_from([*alone, *copied], scored) == alone
    split = rewards.as_split(alone)
    assert [row["example_id"] for row in split] == sorted(row["example_id"] for row in split)
    assert all(row["response"][:2] in ("A.", "B.", "C.", "D.") for row in split)


SMALL = [
    "--candidates=24",
    "--clusters=2",
    "--budget=0.05",
    "--pool-rows=80",
    "--batch-size=2",
    "--passes=1",
    "--maximum-length=96",
    "--reward-examples=2",
    "--test-examples=2",
    "--generated=1",
]


@pytest.fixture
def folder(tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without real data, with the converted model in its place."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(models_folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SULTANA_SHARED_DATA", raising=False)
    return tmp_path


@pytest.mark.slow
def test_the_command_runs_and_goes_on_where_it_stopped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_command.main(["--seeds=0", "--strategies", "random", *SMALL])
    assert "random, seed 0" in capsys.readouterr().out
    raise_command.main(["--seeds=0", "--strategies", "random", "superfiltering", "dsir", *SMALL])
    text = capsys.readouterr().out
    assert "random, seed 0" not in text and "dsir, seed 0" in text and "| superfiltering | 1 |" in text
    results = folder / "data" / "experiments"
    lines = Results(results / "raise.jsonl").lines()
    assert [(one["arm"], one["reward"]) for one in lines] == [
        ("random", None),
        ("superfiltering", None),
        ("dsir", "starter"),
    ]
    for one in lines:
        assert one["steps"] == 2 and one["slots"] == 4 and one["tokens"] > 0
        assert set(one["loss"]) == set(one["reward_loss"]) == {"starter"}
        parts = one["cpu_seconds"]
        assert parts["final_training"] > 0
        assert parts["selecting"] == pytest.approx(sum(parts["by_part"].values()), abs=0.1)
    assert lines[1]["cpu_seconds"]["by_part"]["features"] > 0
    assert (results / "raise.md").read_text(encoding="utf-8").strip() in text
    assert json.loads((results / "raise.json").read_text(encoding="utf-8"))[0]["reward"] == "starter"
    raise_command.main(["--figure", lines[1]["run"], lines[0]["run"], *SMALL])
    with pytest.raises(SystemExit, match="No run is called nothing"):
        raise_command.main(["--figure", lines[1]["run"], "nothing", *SMALL])
    assert "optimizer step" in (results / f"{lines[1]['run']}.svg").read_text(encoding="utf-8")
    assert (folder / "data" / "mlflow" / "mlflow.db").exists()
    control = ["--strategies", "--variant", "random, short", "random", "longest_response=12"]
    raise_command.main(["--seeds=0", *control, *SMALL])
    short = Results(results / "raise.jsonl").lines()[-1]
    assert short["arm"] == "random, short" and short["options"] == {"longest_response": 12}
    pool = raise_command._pool("starter", Settings(**lines[0]["settings"]))
    chosen = read_ledger(results, short["run"])["row_id"].to_pylist()
    assert max(pool.encoded[one].trained_tokens for one in chosen) <= 12


@pytest.mark.slow
def test_a_policy_that_was_kept_is_started_from(folder: Path) -> None:
    start = ["policy.rounds=0", "policy.baseline_rollouts=0", "policy.aligned_rows=-1"]
    kept = ["--variant", "kept", "raise", *start, "save_policy=mine"]
    again = ["--variant", "again", "raise", *start, "policy_of=mine"]
    raise_command.main(["--seeds=0", "--strategies", *kept, *again, *SMALL])
    first, second = Results(folder / "data" / "experiments" / "raise.jsonl").lines()
    assert first["facts"]["policy_sha256"] == second["facts"]["policy_sha256"]
    with pytest.raises(SultanaError, match="no policy to start from"):
        raise_command.main(
            ["--seeds=0", "--strategies", "--variant", "x", "raise", *start, "policy_of=nobody", *SMALL]
        )


def test_faults_are_those_of_the_marks() -> None:
    from tests.experiments.faults_command import KINDS, _shares, faulty_rows, table

    rows, faults = faulty_rows()
    ids = [row["row_id"] for row in rows]
    shares = _shares(ids, faults)
    assert set(faults.values()) == set(KINDS) and faults.keys() <= set(ids)
    planted = {"wrong_answer": 0.03, "truncated": 0.015, "off_topic": 0.02, "near_duplicate": 0.02}
    for kind, share in (planted | {"contaminated": 0.0125}).items():
        assert shares[kind] == pytest.approx(share, rel=0.15)
    line = {"strategy": "x", "selected": dict.fromkeys(KINDS, 0.01), "candidates": dict.fromkeys(KINDS, 0.02)}
    assert "| x | 1 | 5.0% | 0.50 × |" in table([line])
