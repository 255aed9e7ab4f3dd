"""One registered version as one HTML file that can be mailed.

The file loads nothing, neither from elsewhere nor from beside it, and runs no script: a policy in its head forbids
both. The template escapes whatever it is given; only the figures, which are drawn here, go in as they are.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from assets.evaluation.leaderboard import BASE
from assets.evaluation.paired import LOWER_IS_BETTER, BenchmarkStanding, Difference
from assets.lineage.exports.card_header import licences
from assets.lineage.exports.dataset_card import flat_settings
from assets.lineage.exports.model_card import LIMITS, SHOWN_SETTINGS, STARTER
from assets.lineage.report import figures
from assets.lineage.report.facts import ReportFacts
from assets.lineage.report.template import commit_of, drawing, template

TEMPLATE = "report.html.jinja"
MOST_NAMES = 40
"""Lines of a table of counts."""


def render_report(facts: ReportFacts) -> str:
    """The text of the HTML file. Equal facts give equal bytes."""
    about = facts.about
    model = about["model"]
    sources = _counts(about, "source")
    return template(
        TEMPLATE,
        {"number": _number, "interval": _interval, "drawing": drawing, "commit": commit_of},
    ).render(
        about=about,
        facts=facts,
        title=f"{model['name']} version {model['version']}",
        trained_on=datetime.fromtimestamp(facts.trained_at, UTC).strftime("%d %B %Y, %H:%M UTC"),
        places=sum(about["slots"].values()),
        headline=_headline(facts),
        scores=_scores(about),
        comparisons=list(_comparisons(facts)),
        by_question=_by_question(facts),
        chosen=figures.chosen_figure(facts.ledger, facts.tasks) if facts.ledger.num_rows else None,
        losses=figures.loss_figure(facts.curves),
        learning_rate=figures.learning_rate_figure(facts.curves),
        sources=sources,
        starter=sum(rows for name, rows in sources if (name or "").startswith(STARTER)),
        licences=list(licences(about).items()),
        tasks=_counts(about, "task"),
        pictures=[(name, _picture(found)) for name, found in facts.pictures.items()],
        settings=[
            (one["asset"], [(str(name).strip("`"), value) for name, value in flat_settings(found)])
            for one in about["materializations"]
            if one["asset"] in SHOWN_SETTINGS and (found := one["configuration"])
        ],
        tables=list(_tables(about)),
        limits=LIMITS,
        most_names=MOST_NAMES,
    )


def _headline(facts: ReportFacts) -> list["_Headline"]:
    """The scores of the version, the loss on its split first, then its other metrics, then benchmarks."""
    ours = [one for one in facts.standings if one.strategy != BASE]
    ours.sort(key=lambda one: (one.benchmark != facts.split, one.metric not in LOWER_IS_BETTER))
    return [_Headline(one, facts.split) for one in ours]


class _Headline:
    """What a version scored on one benchmark, beside the base model, for the first lines."""

    def __init__(self, one: BenchmarkStanding, split: str | None) -> None:
        self.name = f"{one.metric} on the {split} split" if one.benchmark == split else one.benchmark
        self.metric, self.value, self.questions = one.metric, one.value, one.questions
        self.against_base = one.against_base
        self.verdict = _verdict(one.against_base, one.metric)


def _verdict(difference: Difference | None, metric: str) -> str:
    """In words: better, worse, or no difference shown."""
    if difference is None:
        return "not compared"
    if difference.low <= 0 <= difference.high:
        return "no difference shown"
    lower = difference.high < 0
    return "better" if lower == (metric in LOWER_IS_BETTER) else "worse"


def _scores(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each score of the version, with the base model's beside it."""
    base = {
        (row["split"], row["task"], row["metric"]): row["value"] for row in about["evaluation"]["base_rows"]
    }
    return [
        {
            **dict.fromkeys(("standard_error", "overlapping", "value_without_overlap")),
            **row,
            "base": base.get((row["split"], row["task"], row["metric"])),
        }
        for row in about["evaluation"]["rows"]
    ]


def _comparisons(facts: ReportFacts) -> Iterator[dict[str, Any]]:
    """A figure for each benchmark and metric: all strategies of the leaderboard, else this version alone."""
    own = str(facts.about["training"]["strategy"])
    rows: list[dict[str, Any]] = _by_question(facts) or [
        {**vars(one), "against_base": None if one.against_base is None else vars(one.against_base)}
        for one in facts.standings
    ]
    for key in dict.fromkeys((row["benchmark"], row["metric"]) for row in rows):
        found = {
            row["strategy"]: Difference(**row["against_base"])
            for row in rows
            if (row["benchmark"], row["metric"]) == key and row["against_base"] is not None
        }
        if found:
            yield {
                "benchmark": key[0],
                "metric": key[1],
                "lower_is_better": key[1] in LOWER_IS_BETTER,
                "figure": drawing(figures.differences_figure(found, own, *key)),
            }


def _by_question(facts: ReportFacts) -> list[dict[str, Any]]:
    return list(facts.leaderboard["by_question"]) if facts.leaderboard else []


def _counts(about: Mapping[str, Any], what: str) -> list[tuple[str | None, int]]:
    """Rows by source or task over originals and parents, the largest first."""
    found: dict[str | None, int] = {}
    for part in ("originals", "parents"):
        for name, rows in about["counts"].get(part, {}).get(what, []):
            found[name] = found.get(name, 0) + rows
    return sorted(found.items(), key=lambda one: (-one[1], one[0] is None, one[0] or ""))


def _tables(about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The table versions that the checkpoint comes from, each once, with the code that wrote them."""
    seen = set()
    for one in about["materializations"]:
        for ref in one["tables"].values():
            if (key := (one["asset"], ref["table"], ref["version"])) not in seen:
                seen.add(key)
                yield {
                    **ref,
                    "asset": one["asset"],
                    "code_version": one["code_version"],
                    "commit": commit_of(one),
                }


def _picture(encoded: str) -> Any:
    """A PNG in base64, whole; ValueError where it is anything else."""
    from markupsafe import Markup

    return Markup(base64.b64encode(base64.b64decode(encoded, validate=True)).decode())


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _interval(value: Difference | Mapping[str, Any] | None) -> str:
    if value is None:
        return "–"
    found = value if isinstance(value, Difference) else Difference(**value)
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
