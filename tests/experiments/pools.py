"""The pools that strategies select from, and which of their rows are relevant to which reward.

| pool | rows | relevant |
|---|---|---|
| alpaca | an unbiased sample of Alpaca-52k | nothing is planted |
| planted | the same, with code, Natural Instructions, worked arithmetic, part of Flan's CoT | RELEVANT |
| starter | the starter corpus | nothing is planted |

Every row that holds a question of the four benchmarks, of the side to be scored or of the side to be
rewarded with, is out: also GSM8K's own training rows (in Flan and among the worked arithmetic) and
CommonsenseQA's (Flan's ECQA). What is relevant are rows of other data sets of the same kind. The source is
the measured mark of relevance; no strategy sees it.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assets.diversity.clusters import cluster
from assets.diversity.merged import merge
from assets.embeddings.embed import text_to_embed
from assets.finetuning.encoding import ChatEncoder, Encoded
from assets.identity import digest
from assets.selection.pool import Pool
from resources.embedder import SentenceEmbedder
from resources.files import sha256_file
from resources.language_model import LanguageModel
from resources.progress import Progress
from tests.experiments.benchmarks import (
    STARTER,
    STARTER_ROWS,
    line_hash,
    reward_questions,
    scored_questions,
    shared_folder,
)
from tests.experiments.cache import Cache
from tests.experiments.corpora import Parts, sorted_rows

POOLS: dict[str, Parts] = {
    "alpaca": {"alpaca_random_9k": (0, None)},
    "planted": {
        "alpaca_random_9k": (0, None),
        "code_alpaca_2k": (0, "code"),
        "superni_13k": (0, None),
        "math_cot_3k": (0, "worked arithmetic"),
        "flan_cot_33k": (6000, None),
    },
    STARTER: {STARTER: (0, None)},
}
VERSION = "2"
"""Raised whenever a change makes the same files give another pool, or other candidates."""

_ARITHMETIC = {"worked arithmetic", "aqua_train", "gsm8k_train"}
_REASONED_ANSWERS = {"ecqa_train", "qasc_train", "sensemaking_train", "strategyqa_train", "creak_train"}
_COMMON_SENSE = {
    "task080_piqa_answer_generation",
    "task393_plausible_result_generation",
    "task820_protoqa_answer_generation",
    "task1581_eqasc-perturbed_answer_generation",
}
_SCIENCE = {"task591_sciq_answer_generation", "task1581_eqasc-perturbed_answer_generation"}
_KNOWLEDGE = {
    "task582_naturalquestion_answer_generation",
    "task591_sciq_answer_generation",
    "task615_moviesqa_answer_generation",
    "task898_freebase_qa_answer_generation",
    "task1293_kilt_tasks_hotpotqa_question_answering",
    "task1412_web_questions_question_answering",
    "task1601_webquestions_answer_generation",
}
RELEVANT: dict[str, frozenset[str]] = {
    "gsm8k": frozenset(_ARITHMETIC),
    "arc": frozenset(_REASONED_ANSWERS | _SCIENCE),
    "commonsenseqa": frozenset(_REASONED_ANSWERS | _COMMON_SENSE),
    "mmlu": frozenset(_REASONED_ANSWERS | _KNOWLEDGE | {"aqua_train"}),
}
"""Tasks of the planted pool that count as relevant to a reward; to the union, what is so to any."""


@dataclass(frozen=True, eq=False)
class PoolRows:
    """A pool, encoded, embedded and clustered; every field has one element a row, in the order of `pool`."""

    name: str
    key: str  # hash of all that decides the rows
    pool: Pool
    rows: dict[str, dict[str, Any]]  # by row id: messages, source, task
    encoded: dict[str, Encoded]
    vectors: NDArray[np.float32]  # (N, d), of the instructions, unit length
    vector_seconds: float  # CPU-seconds that one vector cost
    refused: int  # rows too long

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the pool."""
        return sum(len(self.encoded[row_id]) for row_id in self.pool.row_ids)

    def take(self, chosen: Pool) -> NDArray[np.int64]:
        """The places of the rows of `chosen` in this pool."""
        place = {row_id: number for number, row_id in enumerate(self.pool.row_ids)}
        return np.array([place[row_id] for row_id in chosen.row_ids], np.int64)

    def group(self, row_id: str) -> str:
        """Where a row is from: its source, and the task where a source has few and unlike ones."""
        row = self.rows[row_id]
        return f"{row['source']}: {row['task']}" if row["source"] == "flan_cot_33k" else str(row["source"])

    def relevant(self, row_ids: Sequence[str], reward: str) -> float | None:
        """The share of these rows that is relevant to `reward`; None where nothing is planted."""
        if self.name != "planted" or not row_ids:
            return None
        tasks = frozenset().union(*RELEVANT.values()) if reward == "union" else RELEVANT[reward]
        return sum(self.rows[row_id]["task"] in tasks for row_id in row_ids) / len(row_ids)


def read_pool(
    name: str,
    *,
    cache: Cache,
    most: int,
    maximum_length: int,
    clusters: int,
    model: LanguageModel,
    progress: Progress,
) -> PoolRows:
    """The pool `name`: at most `most` rows (0: all), the first by hash."""
    files = _files(name)

    def make() -> list[dict[str, Any]]:
        starter = name == STARTER
        asked = scored_questions(cache.folder, starter=starter)
        asked += reward_questions(cache.folder, starter=starter)
        with tempfile.TemporaryDirectory(prefix="sultana-experiment-") as folder:
            place = cache.folder if starter else Path(folder)
            kept = list(sorted_rows(POOLS[name], asked, place, progress).kept)
        return [
            {
                "row_id": row["instruction_id"],
                "messages": row["messages"],
                "source": row["origins"][0]["source"],
                "task": row["task"],
            }
            for row in kept
        ]

    found = cache.json("pool", [VERSION, name, files], make)
    found = sorted(found, key=lambda row: line_hash(row["row_id"]))[: most or None]
    return prepared(
        name,
        [VERSION, name, files, most, maximum_length, clusters],
        found,
        cache=cache,
        maximum_length=maximum_length,
        clusters=clusters,
        model=model,
    )


def prepared(
    name: str,
    key: Any,
    found: Sequence[dict[str, Any]],
    *,
    cache: Cache,
    maximum_length: int,
    clusters: int,
    model: LanguageModel,
) -> PoolRows:
    """Rows (row_id, messages, source, task) encoded, embedded and clustered."""
    by_id = {row["row_id"]: row for row in found}
    encoded, refused = _encoded(by_id, cache, maximum_length, model)
    ids = sorted(encoded)
    # bfloat16 would give other clusters on a machine with matrix units, and so other candidates.
    embedder = SentenceEmbedder(dtype="float32", device="cpu")
    texts = [text_to_embed(by_id[one]["messages"]) for one in ids]
    vectors, seconds = cache.rows(
        "vectors",
        [embedder.fingerprint(), "instruction"],
        [digest(text)[:32] for text in texts],
        lambda part: {"vector": embedder.embed([texts[place] for place in part])},
        part_rows=4096,  # the embedder fills up its batches: the more rows at once, the less is filling
    )
    labels = _clusters(ids, vectors["vector"], clusters)
    pool = Pool.build(ids, ["original"] * len(ids), labels, [encoded[one].trained_tokens for one in ids])
    return PoolRows(
        name, digest(key)[:16], pool, by_id, encoded, vectors["vector"], seconds / len(ids), refused
    )


def _encoded(
    by_id: dict[str, dict[str, Any]], cache: Cache, maximum_length: int, model: LanguageModel
) -> tuple[dict[str, Encoded], int]:
    """Rows by id, and how many are too long."""
    encoder = ChatEncoder(model.load_tokenizer())

    def make() -> dict[str, Any]:
        kept, _ = encoder.encode_all([(one, by_id[one]["messages"]) for one in sorted(by_id)], maximum_length)
        return {
            row.row_id: [row.ids.tolist(), np.packbits(row.trained).tolist(), row.response_start]
            for row in kept
        }

    key = [model.fingerprint(), encoder.template, maximum_length, sorted(by_id)]
    found = cache.json("encoded", key, make)
    encoded = {
        one: Encoded(
            one,
            np.array(ids, np.int32),
            np.unpackbits(np.array(bits, np.uint8))[: len(ids)].astype(bool),
            start,
        )
        for one, (ids, bits, start) in found.items()
    }
    return encoded, len(by_id) - len(encoded)


def _clusters(ids: Sequence[str], vectors: NDArray[np.float32], count: int) -> list[int]:
    table = cluster(merge(pa.array(ids, pa.string()), vectors), clusters=count, seed=0)
    return [int(label) for label in table["cluster"].to_pylist()]


def _files(name: str) -> dict[str, Any]:
    """What the rows of a pool depend on besides code: the hashes of its files and of the questions'."""
    if name == STARTER:
        return {STARTER: STARTER_ROWS}
    shared = shared_folder()
    if shared is None:
        raise SystemExit(f"The pool {name} needs real data: set SULTANA_SHARED_DATA to its folder")
    names = [f"instructions/{one}.jsonl.gz" for one in POOLS[name]]
    asked = sorted(path.name for path in (shared / "benchmarks").glob("*.jsonl.gz"))
    hashes = {one: sha256_file(shared / one) for one in names + [f"benchmarks/{one}" for one in asked]}
    return {"files": hashes, "parts": {one: list(value) for one, value in POOLS[name].items()}}


def sources_of(rows: PoolRows, row_ids: Sequence[str]) -> dict[str, int]:
    """How many of these rows are of each group."""
    return dict(sorted(Counter(rows.group(row_id) for row_id in row_ids).items()))
