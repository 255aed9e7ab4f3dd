"""Rebuild the batches of a folder that `sultana export` wrote, anywhere.

    from transformers import AutoTokenizer
    from loader import batches, load_rows

    tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
    rows = load_rows("the/exported/folder", tokenizer)
    for step in batches(rows, batch_size=8, seed=0):  # of a curriculum: batches(rows)
        step.batch, step.divisor

It needs numpy, torch, transformers (with jinja2, for chat templates) and the folder, and for folders in the
formats parquet and datasets also pyarrow. This code is Sultana's own, copied: rows are encoded by
`encoding.py`, laid over each other by `alignment.py` and put together by `mixing.py`, so the tensors are
those that Sultana trains on, given the same tokenizer. `example.py` computes the loss of a step with a model
of transformers.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.finetuning.encoding import ChatEncoder, Encoded
from assets.interpolation.alignment import RESPONSE_BORDER, align
from assets.interpolation.mixing import Batch, collate
from assets.lineage.exports.layout import ABOUT, DIGESTS, FORMAT
from resources.errors import SultanaError

UNLIMITED = 1 << 30


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """An original row (one parent: itself) or an interpolated one (two).

    `mixing` is λ, the weight of `parents[0]`. `layer` is where the parents are mixed: 0 is the embedding
    layer, k the states that enter decoder layer k. `uses` are the (step, slot, weight) of a curriculum.
    """

    row_id: str
    parents: tuple[Encoded, ...]
    mixing: float = 1.0
    layer: int = 0
    alignment: str = RESPONSE_BORDER
    uses: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True)
class Rows:
    """The rows of a folder by id, and those that this tokenizer or length cannot encode, with the reason."""

    rows: dict[str, Row]
    refused: dict[str, str]
    is_curriculum: bool


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """The rows of one optimizer step, their batch, and what Sultana divides its loss by.

    The loss is Σ label weight x cross entropy / `divisor`; the divisor is the sum of the step's label
    weights before rows are weighted, so that it does not matter how a step is cut up. A step whose rows
    are mixed at different layers comes as several, one for each layer, with one number and divisor: their
    losses add up. `rows` are in slot order; their place is that of `batch.label_rows`.
    """

    step: int
    rows: tuple[Row, ...]
    batch: Batch
    divisor: float


def load_rows(folder: Path | str, tokenizer: Any, maximum_length: int | None = None) -> Rows:
    """Read and encode an exported folder, rows and parents at most `maximum_length` tokens each.

    None is the length of the curriculum, or no limit where there is none. Raises SultanaError where a file
    is missing or differs from the folder's MANIFEST.json, or where the chat template cannot be used.
    """
    folder = Path(folder)
    about = _json(folder / ABOUT)
    if about.get("format") != FORMAT:
        raise SultanaError(
            f"{folder} is of the format {about.get('format')!r}",
            f"This loader reads {FORMAT}",
            code="export-format-unknown",
        )
    parts = {part: _read(folder, part, about) for part in about["parts"]}
    texts = {row["id"]: row["messages"] for part in ("originals", "parents") for row in parts[part]}
    limit = maximum_length or about["maximum_length"] or UNLIMITED
    encoded, refusals = ChatEncoder(tokenizer).encode_all(sorted(texts.items()), limit)
    by_id = {one.row_id: one for one in encoded}
    reasons = {one.row_id: one.reason for one in refusals}
    rows: dict[str, Row] = {}
    refused: dict[str, str] = {}
    for row in parts["originals"] + parts["interpolated"]:
        keys = (row["parent_a"], row["parent_b"]) if "parent_a" in row else (row["id"],)
        if failed := [reasons[key] for key in keys if key in reasons]:
            refused[row["id"]] = failed[0]
            continue
        rows[row["id"]] = Row(
            row["id"],
            tuple(by_id[key] for key in keys),
            mixing=row.get("lambda", 1.0),
            layer=row.get("layer", 0),
            alignment=row.get("alignment", RESPONSE_BORDER),
            uses=tuple((use["step"], use["slot"], use["weight"]) for use in row.get("uses", ())),
        )
    return Rows(rows, refused, about["kind"] == "curriculum")


def batches(
    loaded: Rows, batch_size: int | None = None, seed: int | None = None, device: Any = "cpu"
) -> Iterator[Step]:
    """The batches of a curriculum, step by step; of other folders, `batch_size` rows at a time.

    Without a curriculum rows come in the order of their ids, which are hashes, or shuffled by `seed`.
    Raises SultanaError where rows of a curriculum could not be encoded.
    """
    if loaded.is_curriculum:
        if batch_size is not None or seed is not None:
            raise ValueError(
                "A curriculum has batches and an order of its own: leave batch_size and seed out"
            )
        yield from _curriculum(loaded, device)
        return
    if batch_size is None or batch_size < 1:
        raise ValueError("Name a batch_size of at least 1")
    rows = [loaded.rows[row_id] for row_id in sorted(loaded.rows)]
    if seed is not None:
        rows = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]
    for step, start in enumerate(range(0, len(rows), batch_size)):
        part = rows[start : start + batch_size]
        yield from build(step, part, [1.0] * len(part), device)


def build(step: int, rows: Sequence[Row], weights: Sequence[float], device: Any = "cpu") -> Iterator[Step]:
    """Align, mix and collate the rows of one step; `weights` multiply the label weights of their rows."""
    aligned = [align(row.parents, row.mixing, row.alignment, row.layer) for row in rows]
    divisor = sum(row.label_weight for row in aligned)
    for layer in sorted({row.layer for row in aligned}):
        here = [place for place, row in enumerate(aligned) if row.layer == layer]
        batch = collate([aligned[place] for place in here], [weights[place] for place in here], device)
        yield Step(step, tuple(rows[place] for place in here), batch, divisor)


def _curriculum(loaded: Rows, device: Any) -> Iterator[Step]:
    if loaded.refused:
        row_id, reason = min(loaded.refused.items())
        raise SultanaError(
            f"{len(loaded.refused)} rows of the curriculum cannot be encoded, the first is {row_id} ({reason})",
            "Use the tokenizer and the maximum_length that the curriculum was made with",
            code="rows-not-encodable",
        )
    slots = sorted((*use, row_id) for row_id, row in loaded.rows.items() for use in row.uses)
    steps: dict[int, list[tuple[Row, float]]] = {}
    for step, _, weight, row_id in slots:
        steps.setdefault(step, []).append((loaded.rows[row_id], weight))
    for step, chosen in steps.items():
        yield from build(step, [row for row, _ in chosen], [weight for _, weight in chosen], device)


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SultanaError(
            f"{path} is missing", "Name a folder that `sultana export` wrote", code="export-damaged"
        ) from None
    return found


def _read(folder: Path, part: str, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a part in order, once its files are what the manifest says."""
    path = folder / about["parts"][part]["path"]
    if not about["parts"][part]["rows"]:
        return []
    digests = _json(folder / DIGESTS)["files"]
    name = about["parts"][part]["path"]
    files = [one for one in digests if one == name or one.startswith(f"{name}/")]
    for file in files or [name]:
        if not (folder / file).is_file() or _sha256(folder / file) != digests.get(file):
            raise SultanaError(
                f"{folder / file} is missing or differs from {DIGESTS}",
                "Copy the exported folder again",
                code="export-damaged",
            )
    if about["data_format"] == "jsonl":
        with path.open(encoding="utf-8", newline="\n") as lines:
            return [json.loads(line) for line in lines]
    import pyarrow
    import pyarrow.parquet

    rows: list[dict[str, Any]]
    if about["data_format"] == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    rows = []
    for shard in sorted(path.glob("*.arrow")):
        with pyarrow.memory_map(str(shard)) as source:
            rows += pyarrow.ipc.open_stream(source).read_all().to_pylist()
    return rows


def _sha256(path: Path) -> str:
    value = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value.update(block)
    return value.hexdigest()
