"""The report as a file: it loads nothing, runs nothing, and text of rows stays text."""

import base64
import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from html_page import Page
from small_tables import HOSTILE, Small, about_of

from assets.evaluation.paired import BenchmarkStanding, Difference
from assets.lineage.report.facts import ReportFacts, SampleAnswer
from assets.lineage.report.report import render_report
from assets.presentation import png

TRAINING = {"strategy": "random", "seed": 1234, "curriculum_seed": 7, "steps": 2, "batch_size": 2}
NASTY = HOSTILE + "\n</dd></main><script>alert(1)</script>\x1b[2J\u202e $\\frac{$ {{ 7 * 7 }}"


def standing(strategy: str, value: float, difference: Difference | None) -> BenchmarkStanding:
    return BenchmarkStanding("test", "loss", strategy, 1, 8, value, 0.1, difference, None)


def _ledger(small: Small) -> pa.Table:
    assert small.curriculum_sources.curriculum is not None
    return small.tables.read(small.curriculum_sources.curriculum)


@pytest.fixture(scope="module")
def facts(small: Small) -> ReportFacts:
    return ReportFacts(
        about=about_of(small, training=TRAINING, partition="0|random"),
        aliases=("champion", "random-seed-0"),
        trained_at=0.0,
        strategy_title="rows drawn at random",
        split="test",
        ledger=_ledger(small),
        tasks=dict.fromkeys(_ledger(small)["row_id"].to_pylist(), NASTY),
        curves={"loss": [(0, 2.0), (1, 1.0)], "early_stopping_loss": [(0, 2.5), (2, 1.5)], "reward_loss": []},
        pictures={NASTY: base64.b64encode(png(lambda axes: axes.plot([1, 2]), "", "", "", (2, 2))).decode()},
        standings=[standing("random", 1.5, Difference(-0.5, -0.7, -0.3, 8)), standing("base", 2.0, None)],
        leaderboard={
            "reference": "random",
            "verdict": "",
            "rows": [
                {
                    "strategy": NASTY,
                    "seeds": 1,
                    **dict.fromkeys(("loss", "accuracy"), 0.5),
                    **dict.fromkeys(("loss_spread", "accuracy_spread", "loss_difference")),
                    **dict.fromkeys(("loss_difference_low", "loss_difference_high")),
                }
            ],
            "by_question": [
                {**vars(standing(NASTY, 1.5, None)), "against_base": vars(Difference(0.5, 0.3, 0.7, 8))}
            ],
        },
        answers=[SampleAnswer("test", NASTY, f"One.\nTwo. {NASTY}", NASTY, NASTY, False, NASTY)],
        decision={
            "model": "sultana",
            "version": 3,
            "previous_version": None,
            "decided_at": "today",
            "decided_by": NASTY,
            "reason": NASTY,
            "forced": True,
            "evidence": {"not_compared": NASTY, "comparisons": []},
        },
    )


def test_it_is_one_file_that_loads_nothing(facts: ReportFacts) -> None:
    source = render_report(facts)
    page = Page(source)
    page.assert_loads_nothing()
    assert page.elements.count("svg") == 3 and page.elements.count("main") == 1
    figures = [
        set(re.findall(r' id="([^"]+)"', one)) for one in re.findall(r"<svg.*?</svg>", source, re.DOTALL)
    ]
    assert all(figures) and len(set().union(*figures)) == sum(map(len, figures))  # none names another's parts
    assert "default-src 'none'" in source and len(source) < 500_000
    assert source == render_report(facts)


def test_text_of_rows_stays_text(facts: ReportFacts) -> None:
    source = render_report(facts)
    page = Page(source)
    assert page.elements.count("img") == 1  # the picture
    assert "</dd></main><script>alert(1)</script>\\x1b[2J\\u202e $\\frac{$ {{ 7 * 7 }}" in page.text
    assert "\x1b" not in source and "\u202e" not in source
    assert "One.\nTwo. <img src=x onerror=alert(1)>" in page.text


def test_it_tells_the_story(facts: ReportFacts) -> None:
    text = " ".join(Page(render_report(facts)).text.split())
    story = (
        "sultana version 3",
        "in 2 steps of 2 rows",
        "-0.5000 [-0.7000, -0.3000] against the base model: better",
        "How it compares",
        "The rule was waived.",
        "What was chosen, and when",
        "How it was trained",
        "CC-BY-4.0 3",
        "Sample answers",
        "Limits",
    )
    places = [text.index(part) for part in story]
    assert places == sorted(places)
    assert "/home/somebody" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"standings": [], "answers": [], "leaderboard": None, "split": None}, "has not been evaluated"),
        ({"leaderboard": None}, "No leaderboard holds this version's evaluation"),
        ({"curves": {}, "pictures": {}}, "What was chosen"),
        ({"decision": None}, "Sample answers"),
    ],
)
def test_what_is_not_known_is_said(facts: ReportFacts, changes: dict[str, Any], told: str) -> None:
    about = dict(facts.about)
    if changes.get("split", "") is None:
        about["evaluation"] = {"rows": [], "base_rows": []}
    page = Page(render_report(replace(facts, about=about, **changes)))
    assert told in " ".join(page.text.split())


def test_a_picture_that_is_none_is_refused(facts: ReportFacts) -> None:
    with pytest.raises(ValueError, match="base64"):
        render_report(replace(facts, pictures={"picture": '"><script>'}))
