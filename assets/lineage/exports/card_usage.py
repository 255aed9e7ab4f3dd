"""What a dataset card says about use: loading, rebuilding batches of mixed rows, and the limits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assets.lineage.exports.card_header import licences
from assets.lineage.exports.card_text import cell

READ_BY = {
    "jsonl": "datasets.load_dataset(FOLDER, '{part}', split='train')",
    "parquet": "datasets.load_dataset(FOLDER, '{part}', split='train')",
    "datasets": "datasets.load_from_disk(f'{{FOLDER}}/{part}')",
}
ALSO_READ_BY = {
    "jsonl": "pandas.read_json(f'{{FOLDER}}/{part}.jsonl', lines=True)",
    "parquet": "pandas.read_parquet(f'{{FOLDER}}/{part}.parquet')",
}


def loading(about: Mapping[str, Any], parts: Sequence[str]) -> str:
    """The section on loading the rows."""
    data_format = about["data_format"]
    lines = ["import datasets", ""]
    lines += [f"{part} = {READ_BY[data_format].format(part=part)}" for part in parts]
    text = "## Load it\n\n`FOLDER` is where this card lies.\n\n" + _python(lines)
    if data_format in ALSO_READ_BY:
        text += f"\n\nOr without the library: `{ALSO_READ_BY[data_format].format(part=parts[0])}`."
    return text + "\n\n`MANIFEST.json` holds the SHA-256 of every file."


def rebuilding(about: Mapping[str, Any]) -> Iterator[str]:
    """The section on rebuilding batches."""
    curriculum = about["kind"] == "curriculum"
    call = "batches(rows)" if curriculum else "batches(rows, batch_size=8, seed=0)"
    order = (
        "The batches are those of the curriculum, step by step"
        if curriculum
        else "Originals and mixed rows come together, shuffled by the seed"
    )
    needs = "" if about["data_format"] == "jsonl" else ", and pyarrow for this folder's format"
    yield "## Rebuild batches with mixed rows"
    yield (
        "A mixed row is λ times the embeddings of one parent plus 1 − λ times those of the other (where `layer` is "
        "above 0: their states at the entry of that decoder layer), and its loss is "
        "the cross entropy against both parents' responses with the same weights. The parents are laid over each "
        "other as `alignment` says: `loader/alignment.py` explains its names. "
        "`loader/` is Sultana's own code for this, copied; Sultana need not be installed. It needs numpy, torch and "
        f"transformers with jinja2{needs}."
    )
    yield _python(
        [
            "from transformers import AutoTokenizer",
            "from loader import batches, load_rows  # in FOLDER, or with FOLDER on the Python path",
            "",
            "tokenizer = AutoTokenizer.from_pretrained(MODEL)",
            "rows = load_rows(FOLDER, tokenizer)",
            f"for step in {call}:",
            "    step.batch.ids            # int64 (parents, rows, places)",
            "    step.batch.coefficients   # float32, the same shape: weights of embeddings; None: none is mixed",
            "    step.batch.label_places   # int64 (labels,): which states of the batch predict a label",
            "    step.batch.labels         # int64 (parents, labels)",
            "    step.batch.label_weights  # float32 (parents, labels)",
            "    step.divisor              # what the weighted loss is divided by",
        ]
    )
    yield (
        f"{order}. In FOLDER, `python -m loader.example MODEL` computes the loss of the first batch with a model of "
        "transformers, in a function of twenty lines to copy from. Equal tokens need an equal tokenizer and "
        "chat template"
        + (
            f": the curriculum was made with the language model whose fingerprint stands below, and rows of at most "
            f"{about['maximum_length']:,} tokens."
            if curriculum
            else "."
        )
    )


def limits(about: Mapping[str, Any]) -> str:
    """The section on what the data cannot promise."""
    found = [
        "Interpolated rows cannot be read, searched or filtered as text, and they are bound to a tokenizer and to "
        "the embeddings of one model: with another model they are other rows.",
        "Texts are as they were found, but for Unicode normalisation (NFC), line ends and white space "
        "around turns. Nobody has read them all: they may be wrong, biased or personal. Their "
        "language was not determined.",
        "Rows that share much text with the benchmarks that Sultana was given were left out; a paraphrase, or "
        "another benchmark, is not noticed.",
        "Clusters and measures of diversity are those of one sentence embedder.",
        "`MANIFEST.json` shows damage, not forgery: it is not signed.",
        "The code in `loader/` is Apache-2.0, whatever the licence of the data.",
    ]
    names = licences(about)
    if len(names) > 1 or None in names:
        known = ", ".join("none known" if name is None else cell(name) for name in list(names)[:8])
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        found.append(
            f"Licences are as the sources state them, row by row in `origins`: {known}{more}. Which of them allow "
            "what you plan is for you to find out."
        )
    else:
        found.append("The licence is as the sources state it; Sultana has not checked it.")
    if about["parts"]["parents"]["rows"]:
        found.append(
            "`parents` were not selected. They are here for the recipes' sake, not to be trained on as rows."
        )
    if cut := about["cut_file_names"]:
        shown = ", ".join(cell(name) for name in list(cut)[:8]) + (" …" if len(cut) > 8 else "")
        found.append(
            f"{sum(cut.values()):,} file names in `origins` told a path of the exporting machine and were cut to "
            f"their last part: {shown}. The files' hashes are whole."
        )
    return "## Limits\n\n" + "\n".join(f"- {one}" for one in found)


def _python(lines: Sequence[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"
