"""The rule of promotion, on numbers made by hand."""

from typing import Any

import pytest

from assets.identity import decision_id
from assets.lineage.promotion import Decision, PromotionRule, compare, in_words, standing
from resources.errors import SultanaError


def rows(loss: dict[str, float], accuracy: dict[str, float] | None = None, **changes: Any) -> list[Any]:
    return [
        {"task": task, "metric": metric, "value": value, "split": "test", "examples": 10, **changes}
        for metric, values in (("loss", loss), ("accuracy", accuracy or {}))
        for task, value in values.items()
    ]


def holds(candidate: list[Any], champion: list[Any], **rule: Any) -> bool:
    return all(one.passed for one in compare(candidate, champion, PromotionRule(**rule)))


def test_the_margin_is_of_the_mean_over_tasks() -> None:
    champion = rows({"a": 1.0, "b": 3.0})
    assert holds(rows({"a": 0.9, "b": 3.0}), champion, loss_margin=0.049)
    assert not holds(rows({"a": 0.9, "b": 3.0}), champion, loss_margin=0.051)
    mean = compare(rows({"a": 0.9, "b": 3.0}), champion, PromotionRule())[0]
    assert (mean.what, mean.task, mean.candidate, mean.champion) == ("mean", "all", 1.95, 2.0)
    assert mean.gain == pytest.approx(0.05)


def test_a_margin_of_nothing_asks_for_better_not_for_equal() -> None:
    assert not holds(rows({"a": 1.0}), rows({"a": 1.0}), loss_margin=0.0)
    assert holds(rows({"a": 0.999999}), rows({"a": 1.0}), loss_margin=0.0)


def test_a_guard_task_may_be_worse_within_its_tolerance_only() -> None:
    champion = rows({"a": 2.0, "b": 2.0}, {"a": 0.5, "b": 0.5})
    better = rows({"a": 1.0, "b": 2.05}, {"a": 0.5, "b": 0.5})
    assert not holds(better, champion)
    assert holds(better, champion, loss_tolerance=0.06)
    assert holds(better, champion, guards=("a",))
    worse_answers = rows({"a": 1.0, "b": 1.0}, {"a": 0.9, "b": 0.4})
    assert not holds(worse_answers, champion)
    assert holds(worse_answers, champion, accuracy_tolerance=0.11)
    failed = [one for one in compare(worse_answers, champion, PromotionRule()) if not one.passed]
    assert [(one.task, one.metric) for one in failed] == [("b", "accuracy")]
    assert in_words(failed[0]) == (
        "the guard task b: accuracy is 0.4000 against 0.5000, 0.1000 worse, and may be worse by 0.02"
    )


def test_a_benchmark_guards_and_is_in_no_mean() -> None:
    bench = rows({}, {"arc": 0.4}, split="arc")
    champion = rows({"a": 2.0}) + bench
    mean, *guards = compare(rows({"a": 1.0}) + bench, champion, PromotionRule())
    assert mean.gain == 1.0 and [one.task for one in guards] == ["a", "arc"]
    assert not holds(rows({"a": 1.0}) + rows({}, {"arc": 0.3}, split="arc"), champion)
    seen = rows({"b": 9.0}, split="reward")
    assert holds(rows({"a": 1.0}) + seen, rows({"a": 2.0}) + rows({"b": 1.0}, split="reward"))


def test_accuracy_can_be_what_is_asked_for() -> None:
    champion, candidate = rows({"a": 1.0}, {"a": 0.5}), rows({"a": 1.01}, {"a": 0.6})
    assert holds(candidate, champion, loss_margin=None, accuracy_margin=0.05)
    assert not holds(candidate, champion, loss_margin=0.01, accuracy_margin=0.05)
    with pytest.raises(SultanaError, match="No task has the metric accuracy"):
        compare(rows({"a": 1.0}), rows({"a": 1.0}), PromotionRule(None, 0.1))


@pytest.mark.parametrize(
    ("candidate", "champion", "rule", "told"),
    [
        (rows({"a": 1}), rows({"a": 1, "b": 1}), {}, "loss of b was measured on 0 examples .* on 10"),
        (rows({"a": 1}), rows({"a": 1}, examples=9), {}, "on 10 examples for the candidate and on 9"),
        (rows({"a": 1}), rows({"a": 1}), {"guards": ("z",)}, "guard task z was not evaluated.*among: a"),
        (rows({"a": 1}, split="reward"), rows({"a": 1}), {}, "no score on the test split"),
    ],
)
def test_what_cannot_be_compared_is_refused(candidate: Any, champion: Any, rule: Any, told: str) -> None:
    with pytest.raises(SultanaError, match=told):
        compare(candidate, champion, PromotionRule(**rule))


@pytest.mark.parametrize(
    "rule", [{"loss_margin": None}, {"loss_margin": -1.0}, {"loss_tolerance": float("nan")}]
)
def test_rules_without_sense_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(SultanaError):
        PromotionRule(**rule)


def test_roll_backs_take_promotions_back_one_by_one() -> None:
    first, second = Decision("a", "promote", 1, None), Decision("b", "promote", 2, 1)
    back = Decision("c", "rollback", 1, 2)
    assert standing([]) is None
    assert standing([first, second]) == second
    assert standing([first, second, back]) == first
    assert standing([first, second, back, Decision("d", "rollback", None, 1)]) is None
    again = Decision("e", "promote", 3, 1)
    assert standing([first, second, back, again]) == again


def test_a_decision_is_chained_to_the_one_before() -> None:
    first = Decision(decision_id(None, {"version": 1}), "promote", 1, None)
    assert decision_id(None, {"version": 1}) == first.promotion_id
    assert decision_id(first.promotion_id, {"version": 1}) != first.promotion_id


def test_a_withdrawal_goes_back_to_the_promotion_of_its_version_or_to_none() -> None:
    one, two, three = (
        Decision("a", "promote", 1, None),
        Decision("b", "promote", 2, 1),
        Decision("c", "promote", 3, 2),
    )
    assert standing([one, two, three, Decision("d", "withdraw", 1, 3)]) == one
    assert standing([one, two, three, Decision("d", "withdraw", None, 3)]) is None
    assert standing([one, two, Decision("d", "withdraw", 1, 2), Decision("e", "rollback", None, 1)]) is None
