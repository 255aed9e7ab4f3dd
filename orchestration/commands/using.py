"""Commands that use or carry away what was made: `generate`, `export`, `export-model` and `export-lineage`."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import AsJson, Reference, TrackingUri, answer, explained

NOTHING_EXPORTED = "Stopped by the keyboard; nothing was exported"
OutFolder = Annotated[
    Path, typer.Argument(metavar="OUT_FOLDER", help="Folder to write; must not exist, or be empty.")
]
GENERATE_EXAMPLES = (
    "sultana generate sultana",
    'sultana generate sultana/3 --prompt "Name three primes." --temperature 0.7 --seed 1',
)
EXPORT_EXAMPLES = (
    "sultana export curated",
    "sultana export curriculum --strategy raise --seed 0 --format parquet",
)
EXPORT_MODEL_EXAMPLES = ("sultana export-model sultana adapter", "sultana export-model sultana whole --merge")
EXPORT_LINEAGE_EXAMPLES = (
    "sultana export-lineage sultana@champion lineage",
    "sultana export-lineage sultana/3 lineage --json | jq .files",
)


def generate(
    model: Reference,
    prompt: Annotated[
        str | None, typer.Option(help="Answer this and exit. Without it: a conversation; Ctrl-D ends it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0, max=100, help="0: the likeliest token every time.")
    ] = 0.0,
    maximum_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply, in tokens.")] = 256,
    tracking_uri: TrackingUri = "",
) -> None:
    """Chat with a registered version in the terminal; standard output holds its replies alone."""
    from orchestration.generate import Sampling
    from orchestration.generate import generate as reply

    with explained():
        reply(model, prompt, Sampling(seed, temperature, maximum_new_tokens), tracking_uri)


def export(
    out_folder: OutFolder,
    format: Annotated[
        str, typer.Option(help="jsonl, parquet or datasets (a Hugging Face dataset on disk).")
    ] = "jsonl",
    strategy: Annotated[
        str | None, typer.Option(help="Export the curriculum of this strategy; with --seed.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of that curriculum.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a curated set: originals, recipes of mixed rows, a dataset card and a loader.

    The representatives of the newest diversity_clusters, or the rows of one curriculum.
    """
    from orchestration.export import export as export_curated

    with explained(NOTHING_EXPORTED, as_json=as_json) as console:
        about = export_curated(out_folder, format, strategy, seed, console)
    answer(about, as_json)


def export_model(
    model: Reference,
    out_folder: OutFolder,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Merge an adapter into its base model: loads by transformers alone."),
    ] = False,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = "",
) -> None:
    """Write a registered version with a model card, its files hashed against the registry first.

    An adapter as it is, for peft; with --merge all weights as safetensors. (For GGUF, give the merged folder to
    convert_hf_to_gguf.py of llama.cpp.)
    """
    from orchestration.model_export import export_model as export_registered

    with explained(NOTHING_EXPORTED, as_json=as_json) as console:
        about = export_registered(model, out_folder, console, merge=merge, tracking_uri=tracking_uri)
    answer(about, as_json)


def export_lineage(
    model: Reference, out_folder: OutFolder, as_json: AsJson = False, tracking_uri: TrackingUri = ""
) -> None:
    """Write where a version comes from, in the formats of others: OpenLineage, CycloneDX, Croissant, cards.

    With the rows that it was trained on, and a draft of the summary of training content that the EU's AI Act asks for.
    """
    from orchestration.lineage_export import export_lineage as export_version

    with explained(NOTHING_EXPORTED, as_json=as_json) as console:
        found = export_version(model, out_folder, console, tracking_uri=tracking_uri)
    answer(found, as_json)
