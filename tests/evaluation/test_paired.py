"""Paired bootstrap, overlaps and standard errors."""

from typing import Any

import numpy as np
import pytest

from assets.evaluation.benchmarks.answers import Answer, Score
from assets.evaluation.benchmarks.overlap import matching_reward, trained_on
from assets.evaluation.benchmarks.questions import Question
from assets.evaluation.paired import benchmark_standings, marks_of, paired_bootstrap
from assets.evaluation.scores import Scored, _error_of_ratio, benchmark_rows


def marks(seed: int, shift: float = 0.0, count: int = 400) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    return {f"q{number}": float(generator.random() < 0.5 + shift) for number in range(count)}


def test_pairs_make_the_interval_narrow() -> None:
    base = marks(0)
    better = base | {f"q{number}": 1.0 for number in range(40)}
    found = paired_bootstrap(better, base, samples=2000, seed=0)
    assert found is not None and found.questions == 400
    assert found.mean == pytest.approx(np.mean([better[key] - base[key] for key in base]))
    # The normal approximation of the same differences.
    differences = np.array([better[key] - base[key] for key in base])
    half = 1.96 * differences.std(ddof=1) / 20
    assert found.low == pytest.approx(found.mean - half, abs=0.006)
    assert found.high == pytest.approx(found.mean + half, abs=0.006)
    unpaired = 1.96 * (2 * 0.25 / 400) ** 0.5
    assert found.high - found.low < unpaired


def test_the_bootstrap_is_seeded_and_knows_no_order() -> None:
    base, other = marks(0), marks(1)
    one = paired_bootstrap(other, base, samples=200, seed=3)
    assert one == paired_bootstrap(dict(reversed(other.items())), base, samples=200, seed=3)
    assert one != paired_bootstrap(other, base, samples=200, seed=4)
    same = paired_bootstrap(base, base, samples=200, seed=0)
    assert same is not None and (same.mean, same.low, same.high) == (0, 0, 0)
    assert paired_bootstrap({"a": 1.0}, {"a": 0.0}, samples=200, seed=0) is None


def test_strategies_meet_the_base_model_and_the_reference() -> None:
    name = ("arc_challenge", "acc_norm")
    board = benchmark_standings(
        {
            ("base", 0): {name: marks(0)},
            ("random", 0): {name: marks(0)},
            ("raise", 0): {name: {key: 1.0 for key in marks(0)}},
            ("raise", 1): {name: marks(0)},
            ("longest", 7): {name: marks(5)},
        },
        "random",
        samples=200,
        seed=0,
    )
    assert [one.strategy for one in board][0] == "raise"
    by_name = {one.strategy: one for one in board}
    assert by_name["base"].against_base is None and by_name["random"].against_reference is None
    best = by_name["raise"]
    assert best.seeds == 2 and best.against_base is not None and best.against_base.low > 0
    # Only seed 0 is common with the reference, and there every answer is right.
    assert best.against_reference is not None
    assert best.against_reference.mean == pytest.approx(1 - np.mean(list(marks(0).values())))
    assert by_name["longest"].against_reference is None
    assert set(best.row("random")) >= {"− base [95 %]", "− random [95 %]"}


def test_marks_are_read_from_answers() -> None:
    answers = [
        {
            "benchmark": "gsm8k",
            "question_id": "a",
            "scores": [{"name": "exact", "value": 1.0}, {"name": "loose", "value": 0.0}],
        }
    ]
    assert marks_of(answers, {"gsm8k": ["exact"]}) == {("gsm8k", "exact"): {"a": 1.0}}


LONG = "A gardener plants seven rows of nine tulips each and then removes four of them"


def question(key: str, prompt: str, answer: str = "59") -> Question:
    return Question(key, "task", {}, prompt, answer)


def test_questions_that_overlap_are_all_found() -> None:
    questions = [
        question("a", LONG),
        question("b", f"{LONG} before noon"),
        question("c", "What is the boiling point of water at the top of a very high mountain?"),
    ]
    row = [
        {"role": "user", "content": LONG.upper() + " before noon!"},
        {"role": "assistant", "content": "59"},
    ]
    assert set(trained_on(questions, [row], n=8, threshold=0.7)) == {"a", "b"}
    assert trained_on(questions, [], n=8, threshold=0.7) == {}
    reward: list[dict[str, Any]] = [
        {
            "example_id": "r",
            "messages": [{"role": "user", "content": LONG}],
            "response": "fifty-nine",
        }
    ]
    assert matching_reward(questions, reward, n=8, threshold=0.7) == {"a", "b"}


def test_scores_stand_beside_those_without_overlap() -> None:
    questions = [question(key, f"{key} {LONG}") for key in "abcd"]
    answers = [
        Answer(one.question_id, "gsm8k", "gsm8k", one.prompt, "0", "59", "60", {"exact": mark})
        for one, mark in zip(questions, (1.0, 1.0, 0.0, 0.0), strict=True)
    ]
    scored = Scored("checkpoint", "inputs", "model", "random", 0)
    rows, stored = benchmark_rows(
        scored,
        [Score("gsm8k", "gsm8k", "exact", 0.5, 0.25, 4), Score("gsm8k", "gsm8k", "exact", 0.4, None, 4)],
        answers,
        questions,
        lambda _: {"a": 0.9},
    )
    assert rows[0]["overlapping"] == 1 and rows[0]["value_without_overlap"] == pytest.approx(1 / 3)
    assert rows[1]["value_without_overlap"] is None  # no mean over questions
    assert [one["overlap"] for one in stored] == [0.9, 0, 0, 0]
    assert len({one["answer_id"] for one in stored}) == 4


def test_the_error_of_a_loss_per_token_is_that_of_a_ratio() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 30, 200)
    losses = generator.normal(2, 1, 200)
    drawn = [generator.integers(0, 200, 200) for _ in range(2000)]
    spread = np.std([(losses[one] * tokens[one]).sum() / tokens[one].sum() for one in drawn])
    assert _error_of_ratio(losses, tokens) == pytest.approx(spread, rel=0.1)
    assert _error_of_ratio(losses[:1], tokens[:1]) is None
