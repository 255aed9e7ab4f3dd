"""A draft of the public summary of training content that Article 53(1)(d) of the EU's AI Act asks for.

After the sections of the Commission's template (24 July 2025; C(2025) 8311 of 5 December 2025). What the lineage knows
is filled in; what only the provider can know is a marked blank. Text of sources is data and gets escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from assets.lineage.exports.card_text import Markup, cell, code, markdown_table
from assets.lineage.exports.model_card import STARTER, cell_of_base
from assets.lineage.exports.source_files import SourceFiles

HUB = "hf://"
SIZES = ((1e9, "Less than 1 billion tokens"), (1e13, "1 billion to 10 trillion tokens"))
LARGEST = "More than 10 trillion tokens"

HEAD = (
    "> **Draft, and no legal advice.** Written by Sultana from the lineage of one model version; it covers what was "
    "trained on here, not what the base model was trained on before. Whether the Act asks the provider of this model "
    "for a summary, and whether this one is complete and right, is for the provider to find out. What only the "
    "provider can say is marked **[provider: …]**."
)
SECTIONS = (
    "1. General information",
    "1.1. Provider identification",
    "1.2. Model identification",
    "1.3. Modalities, overall training data size and other characteristics",
    "2. List of data sources",
    "2.1. Publicly available datasets",
    "2.2. Private non-publicly available datasets obtained from third parties",
    "2.2.1. Datasets commercially licensed by rightsholders or their representatives",
    "2.2.2. Private datasets obtained from other third parties",
    "2.3. Data crawled and scraped from online sources",
    "2.4. User data",
    "2.5. Synthetic data",
    "2.6. Other sources of data",
    "3. Data processing aspects",
    "3.1. Respect of reservation of rights from text and data mining exception or limitation",
    "3.2. Removal of illegal content",
    "3.3. Other information",
)


def training_summary(
    about: Mapping[str, Any], told: Mapping[str, Any], sources: Sequence[SourceFiles], *, read_at: float
) -> str:
    """The summary as Markdown.

    `about` is the content of a model's export.json, `told` what an audit found, `sources` those that rows were read
    from, `read_at` when that was (seconds since 1970).
    """
    used = {one["source"] for one in told["totals"]["sources"]}
    trained = [one for one in sources if one.name in used]
    texts = {
        SECTIONS[1]: _provider(),
        SECTIONS[2]: _model(about),
        SECTIONS[3]: _sizes(about, told, read_at),
        SECTIONS[4]: _sources(told, trained),
        SECTIONS[5]: _public(told, trained),
        SECTIONS[7]: [_answer("concluded licensing agreements with rightsholders or their representatives")],
        SECTIONS[8]: [
            _answer("obtained private datasets from other third parties"),
            "Sultana read these sources from files, without knowing where they had come from: "
            + (_names([one for one in trained if _kind(one) == "file"]) or "none")
            + ".",
            _blank("say for each of them to which of the sections 2.1 to 2.6 it belongs"),
        ],
        SECTIONS[9]: [
            "Sultana crawled nothing: it reads the files and datasets that it is given.",
            _answer(
                "crawled or scraped online sources, itself or through others, for one of the files above"
            ),
            _blank("crawlers, period, and the most relevant domain names"),
        ],
        SECTIONS[10]: [
            "Sultana collected nothing from users of models or services.",
            _answer("took one of the files above from interactions of users"),
        ],
        SECTIONS[11]: _synthetic(about, told, trained),
        SECTIONS[12]: [_answer("used data from other sources, such as data digitised or labelled for it")],
        SECTIONS[14]: _reservations(told),
        SECTIONS[15]: _illegal(about),
        SECTIONS[16]: _other(about, told),
    }
    lines = [
        f"# Public summary of training content: {cell(about['model']['name'])} version {about['model']['version']}",
        HEAD,
        f"Version of the summary: {_blank('number')} Last update: {_blank('date')}",
    ]
    for title in SECTIONS:
        level = "#" * (1 + len(title.split(" ")[0].rstrip(".").split(".")))
        lines += [f"{level} {title}", *texts.get(title, [])]
    return "\n\n".join(lines) + "\n"


def _blank(what: str) -> Markup:
    return Markup(f"**[provider: {what}]**")


def _answer(what: str) -> str:
    return f"The provider {what}: ☐ Yes ☐ No {_blank('tick, and describe where yes')}"


def _slots(value: float) -> Markup:
    """Shares of slots sum to slots, so a row's are no whole number where it was mixed."""
    return Markup(f"{value:,.3f}".rstrip("0").rstrip("."))


def _kind(source: SourceFiles) -> str:
    if source.name.startswith(STARTER):
        return "starter"
    return "hub" if source.address.startswith(HUB) else "file"


def _names(sources: Sequence[SourceFiles]) -> str:
    return ", ".join(cell(one.name) for one in sources)


def _provider() -> list[str]:
    blank = _blank("name and contact details")
    rows = [
        ["Provider", blank],
        ["Authorised representative", _blank("name and contact details, where there is one")],
    ]
    return [markdown_table(["", "value"], rows)]


def _model(about: Mapping[str, Any]) -> list[str]:
    model = about["model"]
    return [
        markdown_table(
            ["", "value"],
            [
                ["Versioned model name", f"{model['name']} version {model['version']}"],
                ["Checkpoint", code(model["checkpoint_id"])],
                [Markup("Model dependencies: fine-tuned from"), cell_of_base(about["base_model"])],
                ["Summary of that model", _blank("address")],
                ["Date of placement on the Union market", _blank("date")],
            ],
        )
    ]


def _sizes(about: Mapping[str, Any], told: Mapping[str, Any], read_at: float) -> list[str]:
    totals, tokens = told["totals"], about["training"].get("trained_tokens")
    band = next((name for most, name in SIZES if tokens is not None and tokens < most), LARGEST)
    bands = [*(name for _, name in SIZES), LARGEST]
    ticked = " ".join(f"{'☒' if tokens is not None and name == band else '☐'} {name}" for name in bands)
    return [
        "Modalities: ☒ Text ☐ Image ☐ Audio ☐ Video ☐ Other",
        f"Training data size, text: {ticked}"
        if tokens is not None
        else f"Training data size, text: {ticked} {_blank('tick')}",
        "Of the training that Sultana ran, repetitions counted:",
        markdown_table(
            ["", "value"],
            [
                [Markup("Tokens trained on"), tokens if tokens is not None else "not recorded"],
                ["Rows trained on (slots)", totals["slots"]],
                ["Different rows", totals["distinct_rows"]],
                ["Different instructions behind them", totals["distinct_instructions"]],
                ["Optimizer steps", totals["steps"]],
            ],
        ),
        f"Types of content: instructions with responses, over {len(totals['tasks']):,} tasks. "
        + _blank("describe the content"),
        f"Latest date of data acquisition: the files were read on {datetime.fromtimestamp(read_at, UTC):%Y-%m-%d}; "
        f"{_blank('month and year when the newest data were acquired')}",
        f"Continuously trained on new data after that: ☐ Yes ☐ No {_blank('tick')}",
        f"Languages: not determined. {_blank('languages of the data')}",
        f"Other characteristics: {_blank('regional or demographic particularities, where they are known')}",
    ]


def _sources(told: Mapping[str, Any], sources: Sequence[SourceFiles]) -> list[str]:
    addresses = {one.name: one for one in sources}
    kinds = {
        "hub": Markup("2.1, a dataset of the Hugging Face Hub"),
        "starter": Markup("2.5, composed by a program"),
        "file": _blank("section"),
    }
    rows = []
    for one in told["totals"]["sources"]:
        source = addresses.get(one["source"])
        rows.append(
            [
                one["source"],
                source.address if source else "",
                one["licence"],
                one["files"],
                one["instructions"],
                _slots(one["slots"]),
                Markup(f"{one['share']:.1%}"),
                kinds[_kind(source)] if source else _blank("section"),
            ]
        )
    return [
        "Every source that a row trained on came from. A mixed row counts for each of its two instructions by its "
        "share; an instruction that stood in several sources counts for each.",
        markdown_table(
            ["source", "address", "licence as stated", "files", "instructions", "slots", "share", "section"],
            rows,
        ),
    ]


def _public(told: Mapping[str, Any], sources: Sequence[SourceFiles]) -> list[str]:
    public = [one for one in sources if _kind(one) == "hub"]
    if not public:
        return [
            "No source was read from the Hugging Face Hub.",
            _answer("used other publicly available datasets"),
        ]
    counted = {one.name: 0.0 for one in public}
    for one in told["totals"]["sources"]:
        if one["source"] in counted:
            counted[one["source"]] += one["slots"]
    return [
        "Publicly available datasets were used: ☒ Yes ☐ No. Modality: text.",
        markdown_table(
            ["dataset", "revision", "slots"],
            ([one.address, one.revision or "not recorded", _slots(counted[one.name])] for one in public),
        ),
        _blank("other publicly available datasets among the files of section 2"),
    ]


def _synthetic(
    about: Mapping[str, Any], told: Mapping[str, Any], sources: Sequence[SourceFiles]
) -> list[str]:
    totals = told["totals"]
    starter = [one for one in sources if _kind(one) == "starter"]
    slots = sum(
        one["slots"] for one in totals["sources"] if one["source"] in {source.name for source in starter}
    )
    return [
        f"{totals['interpolated_slots']:,} of {totals['slots']:,} slots hold mixed rows "
        f"({totals['interpolated_rows']:,} different rows): two instructions interpolated in the embeddings of the "
        "model in training. They have no text, and no other AI model generated them.",
        f"Composed by a program without an AI model (Sultana's starter corpus): {_slots(slots)} slots"
        + (f", from {_names(starter)}." if starter else "."),
        _answer("used text that an AI model generated, for instance responses distilled from one"),
        _blank("models that generated text of the files of section 2, and where they can be had"),
    ]


def _reservations(told: Mapping[str, Any]) -> list[str]:
    licences: dict[str, float] = {}
    for one in told["totals"]["sources"]:
        licences[one["licence"]] = licences.get(one["licence"], 0.0) + one["slots"]
    ordered = sorted(licences.items(), key=lambda item: (-item[1], item[0]))
    return [
        "Licences as the sources state them; Sultana has not checked them, and reads no opt-outs.",
        markdown_table(["licence", "slots"], ([name, _slots(slots)] for name, slots in ordered)),
        f"Signatory of the Code of Practice for general-purpose AI models: ☐ Yes ☐ No {_blank('tick')}",
        _blank("measures to find and respect reservations of rights before and while data were collected"),
    ]


def _illegal(about: Mapping[str, Any]) -> list[str]:
    found = {
        ref["table"]: ref["rows"]
        for one in about["materializations"]
        for ref in one["tables"].values()
        if one["asset"] in ("raw_instructions", "instructions")
    }
    rows = " and ".join(
        f"{found[table]:,} rows {what}"
        for table, what in (("raw_instructions", "were read"), ("instructions", "were kept"))
        if table in found
    )
    return [
        f"Sultana has no filter for illegal content. {rows + '. ' if rows else ''}What was left out was unreadable, "
        "a duplicate, or shared text with a benchmark.",
        _blank("measures to avoid or remove illegal content"),
    ]


def _other(about: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Every row can be traced to file and line: `sultana audit {cell(about['model']['name'])}/"
        f"{about['model']['version']} --rows rows.parquet`. Lineage manifest (SHA-256): "
        f"`{cell(told['manifest']['sha256'])}`."
    )
    yield _blank("other information, where there is any")
