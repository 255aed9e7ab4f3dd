"""A training step beside TRL's SFTTrainer: the same model, rows, lengths, batches and adapters.

TRL lives in a virtual environment of its own, which SULTANA_BENCH_TRL names:

    python -m venv TRL && TRL/bin/pip install torch==2.13.0
    TRL/bin/pip install trl==1.16.0 transformers==5.23.0 peft==0.21.2
    SULTANA_BENCH_TRL=TRL make bench BENCH=training

Its settings are measured as they come, and those that could be its best, all in the first run; the quickest
and the default go on. On a CPU: one thread, SmolLM2-135M-Instruct, real tokens a CPU-second. On a CUDA device:
also a Llama of 1.2 billion random weights, real tokens a second, and the share of the device's peak.
"""

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.runner import run_side, say
from tests.benchmarks.selection import _alpaca, _model, _python_of

LENGTH = 512
BATCH = 8
ROWS = 64
CUDA_BATCH = 64
CUDA_ROWS = 2048

PLAIN = {"gradient_checkpointing": False}
EAGER = {"dtype": "bfloat16", "attn_implementation": "eager"}
SDPA = {"dtype": "bfloat16", "attn_implementation": "sdpa"}
GROUPED = PLAIN | {"train_sampling_strategy": "group_by_length"}
UNPADDED = PLAIN | {"padding_free": True, "max_length": None}  # it cuts no rows; these are shorter
TRL: dict[str, dict[str, Any]] = {
    "default": {"loading": {}, "settings": {}, "only_responses": False},
    "grouped by length": {"loading": SDPA, "settings": GROUPED, "only_responses": True},
    "grouped by length, eager": {"loading": EAGER, "settings": GROUPED, "only_responses": True},
    "padding-free": {"loading": SDPA, "settings": UNPADDED, "only_responses": True},
    "packed": {"loading": SDPA, "settings": PLAIN | {"packing": True}, "only_responses": True},
}
"""SFTTrainer's settings by name. All but the default: weights in bfloat16, the loss of responses only, and no
gradient checkpointing, which it has on as it comes."""

PACKED_SHARE = 4
"""Lines of packed rows in a batch are so many times fewer than rows: about as many tokens."""

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bfloat16 products a second, as their maker states them."""


def training(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """The line for data/bench.jsonl. `rows` are those of an epoch, of which the first steps are not counted."""
    python = _python_of("SULTANA_BENCH_TRL")
    on_cuda = _has_cuda()
    file, source = _alpaca(folder, rows or (CUDA_ROWS if on_cuda else ROWS))
    cases = []
    for name, model in _models(folder, on_cuda):
        request = {"rows": str(file), "model": str(model), "folder": str(folder / "saved"), "length": LENGTH}
        request |= {"batch": CUDA_BATCH if on_cuda else BATCH}
        request |= {"micro_batch": request["batch"]}
        cases.append({"model": name} | _case(name, request, python, runs, on_cuda))
    unit = "real tokens a second" if on_cuda else "real tokens a CPU-second, one thread"
    return {
        "name": "training",
        "unit": unit,
        "runs": runs,
        "corpus": source,
        "batch": CUDA_BATCH if on_cuda else BATCH,
        "maximum_length": LENGTH,
        "cases": cases,
    }


def _case(name: str, request: dict[str, Any], python: str, runs: int, on_cuda: bool) -> dict[str, Any]:
    ours: list[dict[str, Any]] = []
    theirs: dict[str, list[dict[str, Any]]] = {setting: [] for setting in TRL}
    wanted = list(TRL)
    for run in range(runs):
        ours.append(_side("ours_sft", request, sys.executable, on_cuda))
        _tell(name, run, runs, "ours", ours[-1])
        for setting in wanted:
            asked = request | TRL[setting]
            if setting == "packed":
                lines = request["batch"] // PACKED_SHARE
                asked |= {"batch": lines, "micro_batch": lines}
            theirs[setting].append(_side("peer_trl", asked, python, on_cuda))
            _tell(name, run, runs, f"TRL, {setting}", theirs[setting][-1])
        if run == 0:
            best = max(TRL, key=lambda setting: theirs[setting][0]["rate"])
            wanted = list(dict.fromkeys(["default", best]))
    found: dict[str, Any] = {"ours": _summary(ours, on_cuda)}
    for setting, results in theirs.items():
        pairs = [one["rate"] / other["rate"] for one, other in zip(ours, results, strict=False)]
        found[f"TRL, {setting}"] = _summary(results, on_cuda) | {
            "runs": len(results),
            "ratio": round(statistics.median(pairs), 3),
            "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        }
    for setting in wanted:
        one = found[f"TRL, {setting}"]
        what = "TRL's best setting" if setting == best else "TRL"
        say(f"training, {name}: {one['ratio']:.2f} times {what} ({setting}), {one['spread']} in {runs} pairs")
    return found | {"best": best, "versions": ours[0]["versions"] | theirs[best][0]["versions"]}


def _side(side: str, request: dict[str, Any], python: str, on_cuda: bool) -> dict[str, Any]:
    file = Path(request["folder"]).parent / f"{side}.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    result = run_side("training_sides", side, file, python=python, is_peer=side.startswith("peer"))
    result["rate"] = result["tokens"] / result["seconds" if on_cuda else "cpu_seconds"]
    return result


def _models(folder: Path, on_cuda: bool) -> Iterator[tuple[str, Path]]:
    small = _model(folder)
    yield "SmolLM2-135M-Instruct", small
    if on_cuda:
        yield "random Llama, 1.2 billion", large_llama(folder / "llama", small)


def large_llama(folder: Path, tokenizer: Path) -> Path:
    """A Llama of the shape of Llama 3.2 1B, of random weights, with the tokenizer of another model."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def _summary(results: list[dict[str, Any]], on_cuda: bool) -> dict[str, Any]:
    rate = statistics.median(one["rate"] for one in results)
    found = {
        "rate": round(rate, 2),
        "tokens": results[0]["tokens"],
        "peak_mib": round(statistics.median(one["peak_mib"] for one in results)),
    }
    peak = next((value for name, value in PEAKS.items() if name in results[0]["device"]), None)
    if on_cuda and peak is not None:
        # Forward, and of the backward only what reaches the states: 2 products of the weights each. Without attention.
        found["share_of_peak"] = round(rate * 4 * results[0]["parameters"] / peak, 4)
    return found


def _tell(name: str, run: int, runs: int, who: str, result: dict[str, Any]) -> None:
    say(
        f"training, {name} {run + 1}/{runs}: {who} {result['rate']:,.1f} tokens, {result['tokens']:,} in all, "
        f"peak memory {result['peak_mib']:,.0f} MiB"
    )


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
