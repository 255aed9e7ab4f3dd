"""The wording of the starter corpus: figures that a dump of a few templates would miss."""

import random
import re
import statistics
from collections import defaultdict

import pytest

from assets.instructions.starter.composing import benchmark_row, training_row
from assets.instructions.starter.drawing import Draw
from assets.instructions.starter.faults import similarity
from assets.instructions.starter.rows import Row
from assets.instructions.starter.tasks import TASKS
from assets.instructions.starter.wording import article, count, in_words, ordinal, plural, series

EACH = 60


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {
        name: [training_row(task, Draw("diversity", name, n)) for n in range(EACH)]
        for name, task in TASKS.items()
    }


def distinct_ratio(texts: list[str], size: int = 4) -> float:
    """Distinct runs of `size` words, over all runs."""
    runs = [
        tuple(words[n : n + size])
        for words in (re.findall(r"\w+", text.lower()) for text in texts)
        for n in range(len(words) - size + 1)
    ]
    return len(set(runs)) / len(runs)


def test_distinct_4_grams(rows: dict[str, list[Row]]) -> None:
    texts = [f"{row.prompt}\n{row.response}" for group in rows.values() for row in group]
    dump = [
        f"What is {n} plus {n % 7}? Please show your work. The answer is {n + n % 7}." for n in range(2000)
    ]
    assert distinct_ratio(texts) > 0.6
    assert distinct_ratio(dump) < 0.5


def test_rows_of_a_task_differ(rows: dict[str, list[Row]]) -> None:
    chooser = random.Random(0)
    means = {}
    for name, group in rows.items():
        pairs = [chooser.sample(group, 2) for _ in range(80)]
        means[name] = statistics.mean(similarity(a.prompt, b.prompt) for a, b in pairs)
    assert statistics.mean(means.values()) < 0.03
    assert max(means.values()) < 0.12, max(means, key=lambda name: means[name])


def test_surface_forms_of_a_task(rows: dict[str, list[Row]]) -> None:
    """With the parameters blanked out, hardly two rows have the same form."""
    for name, group in rows.items():
        blanked = {re.sub(r'[A-Z]\w+|\d+|"[^"]*"', "_", row.prompt) for row in group}
        assert len(blanked) > 0.6 * EACH, name


def test_response_styles(rows: dict[str, list[Row]]) -> None:
    styles: dict[str, int] = defaultdict(int)
    for group in rows.values():
        for row in group:
            styles["bare"] += row.response == row.answer
            styles["worked"] += bool(re.search(r"(nswer is|Answer:|Hence:|So:) ", row.response))
            styles["turns"] += len(row.messages) > 3
    total = EACH * len(TASKS)
    assert styles["bare"] > 0.25 * total
    assert styles["worked"] > 0.1 * total
    assert 0.03 * total < styles["turns"] < 0.12 * total


def test_lengths(rows: dict[str, list[Row]]) -> None:
    responses = [len(row.response.split()) for group in rows.values() for row in group]
    assert statistics.median(responses) < 30
    assert max(len(row.prompt) for group in rows.values() for row in group) < 1500


def test_text_is_tidy(rows: dict[str, list[Row]]) -> None:
    prose = [
        name for name, task in TASKS.items() if task.family not in ("code", "lists", "strings", "grammar")
    ]
    for name in prose:
        for row in rows[name]:
            for _, content in row.messages:
                assert not re.search(r"[{}\[\]]\w*\}|  | [.?!](\s|$)|\.\.(?!\.)|\ba [aeio][a-z]", content), (
                    name,
                    content,
                )
                assert content == content.strip()


@pytest.mark.parametrize("name", TASKS)
def test_every_response_style_verifies(name: str) -> None:
    """A wrong answer fails, the right one passes in each of its styles."""
    task = TASKS[name]
    for n in range(40):
        draw = Draw("styles", name, n)
        facts = task.facts(draw)
        draft = task.word(facts, draw)
        assert task.check(facts, draft.answer)
        assert not draft.sentence or task.check(facts, draft.sentence)
        assert not draft.working or task.check(facts, f"{draft.working} The answer is {draft.answer}.")
        assert not task.check(facts, "I am not sure.") or name == "letter_ban"
        example = benchmark_row(task, Draw("benchmark", name, n))
        assert example.answer is None or example.response.endswith(example.answer)


def test_english_helpers() -> None:
    assert [article(noun) for noun in ("apple", "hour", "university", "yak", "orca")] == [
        "an",
        "an",
        "a",
        "a",
        "an",
    ]
    assert [plural(noun) for noun in ("box", "knife", "berry", "day", "sorting machine")] == [
        "boxes", "knives", "berries", "days", "sorting machines",
    ]  # fmt: skip
    assert (count(1, "fig"), count(2, "peach")) == ("1 fig", "2 peaches")
    assert series(["a", "b", "c"]) == "a, b and c"
    assert (in_words(12), in_words(47)) == ("twelve", "forty-seven")
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 22)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "22nd",
    ]


def test_template_grammar() -> None:
    draw = Draw("grammar")
    assert {draw.phrase("a[b|c]|d") for _ in range(50)} == {"ab", "ac", "d"}
    assert (
        draw.say("{name} has {x}. it is   {=x} .", name="the owl", x="one") == "The owl has one. It is one."
    )
    assert draw.phrase("x¶y") == "x\ny"
    with pytest.raises(ValueError):
        draw.phrase("a]b")
