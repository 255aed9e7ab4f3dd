"""The model card of an export: what was trained on what, how it scores, how to load it, what it cannot promise.

Everything is from the lineage of the checkpoint. Text of sources, tasks and settings is data and gets escaped.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from assets.lineage.exports.card_text import Markup, cell, code, markdown_table
from assets.lineage.exports.dataset_card import commit_of, counted_rows, flat_settings, tables_table
from resources.text import escape_markdown_cell

STARTER = "starter-"
"""What the names of the sources of Sultana's own starter corpus begin with; a program composed its rows."""

SHOWN_SETTINGS = ("checkpoint", "curriculum")
SCORED = (
    "task",
    "metric",
    "split",
    "examples",
    "this model",
    "standard error",
    "base model",
    "overlapping",
    "without them",
)
LIMITS = (
    "The scores are of the benchmarks named and of nothing else. Rows that share much text with them were left out "
    "of training; a paraphrase is not noticed.",
    "Nobody has read the training data in full, and the model has not been tested for safety. It can be wrong, "
    "biased or harmful.",
)
"""What no model of Sultana promises, as plain text."""

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "weights": "transformers"}


def model_card(about: Mapping[str, Any]) -> str:
    """The text of README.md, from the content of export.json."""
    model = about["model"]
    sections = (
        f"# {cell(model['name'])} version {model['version']}",
        *_what(about),
        "## Load it",
        _loading(about),
        "## Training data",
        *_data(about),
        "## Training",
        *_training(about),
        "## Evaluation",
        *_evaluation(about),
        "## How it was made",
        *_made(about),
        _limits(about),
    )
    return _header(about) + "\n" + "\n\n".join(sections) + "\n"


def _header(about: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    model, base = about["model"], about["base_model"]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="sultana-benchmark-split",
            dataset_name=str(row["task"]),
            dataset_config=str(row["task"]),  # without it the results of all tasks become those of one
            dataset_split=row["split"],
            metric_type=row["metric"],
            metric_value=round(row["value"], 6),
        )
        for row in about["evaluation"]["rows"]
    ]
    data = ModelCardData(
        model_name=f"{model['name']}-{model['version']}" if results else None,
        eval_results=results or None,
        base_model=base["hub_id"],
        library_name=_LIBRARIES[about["kind"]],
        license="other",
        license_name="see-the-card",
        pipeline_tag="text-generation",
        tags=["instruction-tuning", "task-interpolation", "sultana"],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _what(about: Mapping[str, Any]) -> Iterator[str]:
    base, training, slots = about["base_model"], about["training"], about["slots"]
    kind = {
        "adapter": "An adapter (PEFT) for",
        "merged": "All weights, an adapter merged into those of",
        "weights": "All weights, fine-tuned from",
    }[about["kind"]]
    total = sum(slots.values())
    yield (
        f"{kind} {cell(base['name'])}, fine-tuned by Sultana on a curriculum that the strategy "
        f"{cell(training['strategy'])} selected with seed {training['seed']}: {training['steps']:,} steps of "
        f"{training['batch_size']:,} rows."
    )
    yield markdown_table(
        ["", "value"],
        [
            ["base model", cell_of_base(base)],
            ["places in the curriculum", total],
            [
                Markup("of these interpolated (mixed from two instructions)"),
                _share(slots["interpolated"], total),
            ],
            ["different original rows", about["parts"]["originals"]["rows"]],
            ["different interpolated rows", about["parts"]["interpolated"]["rows"]],
            [Markup("originals and parents composed by a program (starter corpus)"), _starter(about)],
        ],
    )


def cell_of_base(base: Mapping[str, Any]) -> Markup:
    """The base model with its revision and fingerprint."""
    revision = f", revision `{cell(base['revision'])}`" if base["revision"] else ""
    return Markup(f"{cell(base['name'])}{revision}, fingerprint `{cell(base['fingerprint'])}`")


def _share(part: int, total: int) -> Markup:
    return Markup(f"{part:,} ({part / total:.1%})" if total else "0")


def _starter(about: Mapping[str, Any]) -> Markup:
    counts = [
        (name, rows)
        for part in ("originals", "parents")
        for name, rows in about["counts"].get(part, {}).get("source", [])
    ]
    total = sum(rows for _, rows in counts)
    return _share(sum(rows for name, rows in counts if (name or "").startswith(STARTER)), total)


def _loading(about: Mapping[str, Any]) -> str:
    if about["kind"] != "adapter":
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            "model = AutoModelForCausalLM.from_pretrained(FOLDER)",
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
        ]
        told = (
            "For GGUF, give this folder to `convert_hf_to_gguf.py` of llama.cpp."
            if about["kind"] == "merged"
            else ""
        )
    else:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            "base = AutoModelForCausalLM.from_pretrained(BASE)",
            "model = PeftModel.from_pretrained(base, FOLDER)",
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
        ]
        told = (
            "`BASE` is the base model named above, with that very fingerprint: an adapter gives other answers on "
            "another model. Its files are not in this folder; `--merge` exports a model that is complete."
        )
    text = "`FOLDER` is where this card lies.\n\n```python\n" + "\n".join(lines) + "\n```"
    return text + (f"\n\n{told}" if told else "") + "\n\n`MANIFEST.json` holds the SHA-256 of every file."


def _data(about: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "What the model was trained on, row for row as the ledger says. `originals` were trained on with their "
        "text. `interpolated` rows are mixed from two instructions, `parents` when those are not among the "
        "originals."
    )
    yield markdown_table(
        ["part", "different rows"],
        ([code(part), one["rows"]] for part, one in about["parts"].items()),
    )
    yield from counted_rows(about)


def _training(about: Mapping[str, Any]) -> Iterator[str]:
    training = about["training"]
    yield markdown_table(
        ["", "value"],
        [[name.replace("_", " "), _plain(value)] for name, value in training.items() if value is not None],
    )
    for asset in SHOWN_SETTINGS:
        if found := [one for one in about["materializations"] if one["asset"] == asset]:
            settings = markdown_table(["setting", "value"], flat_settings(found[0]["configuration"]))
            yield f"Settings of `{asset}`:\n\n{settings}"


def _plain(value: Any) -> Any:
    """Seeds and steps without thousands separators of a cell would read as other numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _evaluation(about: Mapping[str, Any]) -> Iterator[str]:
    evaluation = about["evaluation"]
    if not evaluation["rows"]:
        yield "This version has not been evaluated."
        return
    yield (
        "Losses in nats per token (lower is better), other metrics as shares of examples (higher is better). "
        "The base model stands beside it where it was scored on the same data with the same settings. "
        "`overlapping` examples share much text with a row that was trained on; the score without them is beside."
    )
    base = {(row["task"], row["metric"], row["split"]): row for row in evaluation["base_rows"]}
    yield markdown_table(
        SCORED,
        (
            [
                row["task"],
                row["metric"],
                row["split"],
                row["examples"],
                float(row["value"]),
                row.get("standard_error"),
                base.get((row["task"], row["metric"], row["split"]), {}).get("value"),
                row.get("overlapping"),
                row.get("value_without_overlap"),
            ]
            for row in evaluation["rows"]
        ),
    )


def _made(about: Mapping[str, Any]) -> Iterator[str]:
    yield tables_table(about["materializations"])
    model = about["model"]
    listed = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    packages = escape_markdown_cell(listed, limit=1000)
    checkpoint = about["materializations"][0]
    yield "\n".join(
        [
            f"- MLflow run `{cell(model['mlflow_run_id'])}`, checkpoint `{cell(model['checkpoint_id'])}`, files "
            f"`{cell(model['files_manifest_sha256'])}`.",
            f"- Trained with the code of Sultana at {commit_of(checkpoint)} and {packages}.",
            f"- Exported by Sultana {cell(about['sultana']['version'])} at {commit_of(about['sultana'])}. `-dirty` "
            "marks code with changes that were not committed.",
        ]
    )


def _limits(about: Mapping[str, Any]) -> str:
    names = sorted(
        {
            "none known" if name is None else cell(name)
            for part in ("originals", "parents")
            for name, _ in about["counts"].get(part, {}).get("licence", [])
        }
    )
    found = [
        f"Licences of the training data as its sources state them: {', '.join(names) or 'none known'}; the base "
        "model has its own. Under which licence these weights may be passed on is for you to find out.",
        *LIMITS,
        "`MANIFEST.json` shows damage, not forgery: it is not signed.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {one}" for one in found)
