"""The dataset card of an export: what it is, how it was made, how to load it, what it cannot promise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from assets.lineage.exports.card_header import card_header
from assets.lineage.exports.card_text import Markup, cell, code, markdown_table
from assets.lineage.exports.card_usage import limits, loading, rebuilding
from resources.text import escape_markdown_cell

MOST_NAMES = 40
"""Lines of a table of counts; the rest is summed up in one."""

HOLDS = {
    "originals": Markup("instructions with their text"),
    "interpolated": Markup("recipes of mixed rows; **no text**"),
    "parents": Markup("instructions with their text that only recipes need"),
}
COLUMNS = {
    "note": "says that the row has no text",
    "id": "hash of the conversation, or of the recipe",
    "messages": "turns: `role` (system, user or assistant) and `content`",
    "parent_a": "`id` of a row in `originals` or `parents`",
    "parent_b": "the same, of the other parent",
    "lambda": "weight of `parent_a`; `parent_b` has 1 − λ",
    "layer": "where the parents are mixed; 0 is the embedding layer",
    "alignment": "how two parents of different lengths are laid over each other",
    "seed": "seed of the recipes",
    "task": "task label, where the source has one",
    "task_a": "task that `parent_a` was drawn from",
    "task_b": "task that `parent_b` was drawn from",
    "cluster": "cluster of the row's embedding",
    "rank": "place in its cluster, from 0, the first to represent it",
    "density": "mean cosine to the nearest neighbours in the cluster",
    "distance": "Euclidean distance of the unit vector to the cluster's centroid",
    "origins": "where the row was found: `source`, `file`, `file_sha256`, `position` and `licence`",
    "uses": "where the curriculum uses the row: `step`, `slot` and `weight` of its loss",
}
SHOWN_SETTINGS = ("instructions", "interpolated_instructions", "diversity_clusters", "curriculum")


def dataset_card(about: Mapping[str, Any], schemas: Mapping[str, pa.Schema]) -> str:
    """The text of README.md, from the content of export.json and the schemas of the parts that have rows."""
    title = _title(about)
    sections = (
        f"# {title}",
        _what(about),
        _columns(schemas),
        loading(about, list(schemas)),
        *rebuilding(about),
        "## How it was made",
        *_made(about),
        "## Counts",
        *counted_rows(about),
        *_diversity(about),
        limits(about),
    )
    return card_header(about, schemas, title) + "\n" + "\n\n".join(sections) + "\n"


def _title(about: Mapping[str, Any]) -> str:
    if about["kind"] == "curriculum":
        facts = about["curriculum"]
        return f"Curriculum {facts['strategy']}, seed {facts['seed']}"
    return "Curated instructions"


def _made_of(about: Mapping[str, Any], asset: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in about["materializations"] if one["asset"] == asset)
    return found


def _rows_of(about: Mapping[str, Any], asset: str) -> int:
    return int(_made_of(about, asset)["tables"][asset]["rows"])


def _what(about: Mapping[str, Any]) -> str:
    parts = about["parts"]
    chosen = parts["originals"]["rows"] + parts["interpolated"]["rows"]
    pool = (
        f"{_rows_of(about, 'instructions'):,} instructions and {_rows_of(about, 'interpolated_instructions'):,} "
        "interpolations of two instructions each"
    )
    if about["kind"] == "curriculum":
        facts = about["curriculum"]
        what = (
            f"The {chosen:,} different rows of a training curriculum that fills {_rows_of(about, 'curriculum'):,} "
            f"places, with every step and slot a row is used at. The strategy {cell(str(facts['strategy']))} "
            f"selected them, with seed {facts['seed']}, from {pool}."
        )
    else:
        what = f"{chosen:,} rows for instruction tuning: the representatives of their clusters among {pool}."
    table = markdown_table(
        ["part", "rows", "where", "what it holds"],
        (
            [code(part), one["rows"], code(one["path"]) if one["rows"] else Markup("no rows"), HOLDS[part]]
            for part, one in parts.items()
        ),
    )
    return f"{what}\n\n**{about['interpolated_rows']}**\n\n{table}"


def _columns(schemas: Mapping[str, pa.Schema]) -> str:
    names = [name for name in COLUMNS if any(name in schema.names for schema in schemas.values())]
    return markdown_table(
        ["column", *(code(part) for part in schemas), "meaning"],
        (
            [
                code(name),
                *(Markup("✓" if name in schema.names else "") for schema in schemas.values()),
                Markup(COLUMNS[name]),
            ]
            for name in names
        ),
    )


def _made(about: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "By [MDIT](https://arxiv.org/abs/2504.07288): pairs of instructions are interpolated, originals and "
        "interpolations are clustered together by their sentence embeddings, and each cluster gives its "
        "representatives. What follows is from the records of the run; `export.json` has it in full."
    )
    for asset in SHOWN_SETTINGS:
        if found := [one for one in about["materializations"] if one["asset"] == asset]:
            settings = markdown_table(["setting", "value"], flat_settings(found[0]["configuration"]))
            yield f"Settings of `{asset}`:\n\n{settings}"
    yield tables_table(about["materializations"])
    models = about["models"]
    lines = [
        f"- {name.replace('_', ' ').capitalize()}: {cell(model['name']) if model['name'] else 'name not recorded'}, "
        f"fingerprint `{cell(model['fingerprint'])}`."
        for name, model in models.items()
    ]
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    lines.append(f"- Made with {escape_markdown_cell(packages, limit=1000)}.")
    lines.append(
        f"- Exported by Sultana {cell(about['sultana']['version'])}, git commit {commit_of(about['sultana'])}. "
        "`-dirty` marks code with changes that were not committed."
    )
    yield "\n".join(lines)


def tables_table(materializations: Sequence[Mapping[str, Any]]) -> str:
    """The table versions that materializations wrote, with what code, in Markdown; each version once."""
    # Two assets can have read the same table version from two materializations, one of which reused the other.
    rows = {
        (one["asset"], ref["table"], ref["version"]): [
            code(one["asset"]),
            code(ref["table"]),
            ref["version"],
            ref["rows"],
            code(ref["digest"][:12]),
            str(one["code_version"]),
            commit_of(one),
        ]
        for one in materializations
        for ref in one["tables"].values()
    }
    return markdown_table(
        ["asset", "table", "version", "rows", "digest", "code version", "git commit"], rows.values()
    )


def commit_of(made: Mapping[str, Any]) -> Markup:
    """The git commit of a record, as code; `-dirty` where there were changes that were not committed."""
    if not made["git_commit"]:
        return Markup("commit unknown")
    return Markup(f"`{cell(made['git_commit'][:12])}{'-dirty' if made['git_dirty'] else ''}`")


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[list[Any]]:
    """Rows of a table of settings, those inside others with dots in their names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            yield [code(prefix + name), str(value)]


def counted_rows(about: Mapping[str, Any]) -> Iterator[str]:
    """What is counted how, and a table each of rows by source, licence and task."""
    yield (
        "A row with several origins counts once for each of their sources and licences; a recipe counts for "
        "the tasks of both its parents."
    )
    parts = [part for part, one in about["parts"].items() if one["rows"]]
    for what in ("source", "licence", "task"):
        columns = [part for part in parts if what in about["counts"][part]]
        by_name: dict[str | None, list[int]] = {}
        for place, part in enumerate(columns):
            for name, rows in about["counts"][part][what]:
                by_name.setdefault(name, [0] * len(columns))[place] += rows
        if by_name:
            head = [what, *(code(part) for part in columns)]
            yield _shortened(
                head, sorted(by_name.items(), key=lambda one: (-sum(one[1]), one[0] is None, one[0] or ""))
            )


def _shortened(head: Sequence[str], rows: Sequence[tuple[str | None, list[int]]]) -> str:
    """A table of at most MOST_NAMES names; what is beyond is one line."""
    shown: list[list[Any]] = [
        [Markup("*none*") if name is None else name, *ns] for name, ns in rows[:MOST_NAMES]
    ]
    if rest := rows[MOST_NAMES:]:
        sums = [sum(numbers) for numbers in zip(*(ns for _, ns in rest), strict=True)]
        shown.append([Markup(f"*{len(rest):,} others*"), *sums])
    return markdown_table(head, shown)


def _diversity(about: Mapping[str, Any]) -> Iterator[str]:
    if not about["diversity"]:
        return
    yield "## Diversity"
    yield (
        "As measured when the clusters were made, over all originals and interpolations and over the "
        "representatives among them."
    )
    yield markdown_table(
        ["measure", "value"], ([code(name), value] for name, value in about["diversity"].items())
    )
