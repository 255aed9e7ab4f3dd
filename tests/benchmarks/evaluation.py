"""Evaluation beside lm-evaluation-harness's own hf backend: the same model, tasks and questions, in one run.

Both sides get the harness's requests for the same questions and run them in bfloat16 where the machine
multiplies it in hardware. The hf backend runs with the best of a few batch sizes, which is looked for first
on the same requests (`auto` grows the batch for a CUDA device's memory, so it is one of them there). On a CPU
what counts is CPU-seconds of one thread, on a CUDA device wall seconds.
"""

import contextlib
import io
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.runner import SkippedError, say
from tests.experiments.benchmarks import shared_folder

TASKS = {
    "arc_challenge": ("arc_test", "", 0, 64),
    "commonsense_qa": ("commonsenseqa_dev", "", 0, 64),
    "mmlu": ("mmlu_test", "mmlu_dev", 5, 48),
    "gsm8k": ("gsm8k_test", "gsm8k_train", 0, 24),
}
"""Task: its file, that of its examples, how many examples, and questions asked."""

BATCHES: dict[str, tuple[int | str, ...]] = {"cpu": (1, 8, 16, 32), "cuda": (32, 128, "auto")}
BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536}


def evaluation(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """Questions a second of our model class and of the harness's, per task; `rows` is questions a task."""
    import torch

    from assets.evaluation.benchmarks.harness_model import HarnessModel
    from assets.evaluation.benchmarks.plan import BenchmarkSpec, read_benchmarks
    from assets.evaluation.loaded import held
    from resources.language_model import LanguageModel

    data = shared_folder()
    if data is None:
        raise SkippedError("SULTANA_SHARED_DATA names no folder of real benchmarks")
    language_model = LanguageModel(folder=folder / "models")
    (folder / "models").mkdir()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    pair = language_model.load()
    ours = HarnessModel(held(*pair), templated=True, batch_tokens=BATCH_TOKENS[device], track=_untracked)

    results: dict[str, Any] = {}
    for task, (file, examples, few_shot, count) in TASKS.items():
        spec = BenchmarkSpec(
            task,
            str(data / "benchmarks" / f"{file}.jsonl.gz"),
            few_shot,
            str(data / "benchmarks" / f"{examples}.jsonl.gz") if examples else "",
            rows or count,
        )
        (asked,) = read_benchmarks([spec], execute_generated_code=False, downloads=folder)
        kind, requests = _requests(asked, ours)
        batch, peer = _best_peer(pair, kind, requests, BATCHES[device], device)
        rates: dict[str, list[float]] = {"ours": [], "hf": []}
        answers: dict[str, list[Any]] = {}
        for _ in range(runs):
            for who, model in (("ours", ours), ("hf", peer)):
                seconds, answers[who] = _timed(model, kind, requests, device)
                rates[who].append(len(asked.questions) / seconds)
        same = statistics.mean(
            _same(one, other, kind) for one, other in zip(answers["ours"], answers["hf"], strict=True)
        )
        pairs = [one / other for one, other in zip(rates["ours"], rates["hf"], strict=True)]
        ratio = statistics.median(rates["ours"]) / statistics.median(rates["hf"])
        results[task] = {
            "ours": round(statistics.median(rates["ours"]), 3),
            "hf": round(statistics.median(rates["hf"]), 3),
            "ratio": round(ratio, 3),
            "spread": [round(min(pairs), 3), round(max(pairs), 3)],
            "hf_batch_size": batch,
            "questions": len(asked.questions),
            "few_shot": few_shot,
            "alike": round(same, 4),
        }
        say(
            f"evaluation, {task}: ours {results[task]['ours']:,.2f} questions a second, hf backend "
            f"{results[task]['hf']:,.2f} (batch size {batch}): {ratio:.2f} times, {min(pairs):.2f} to "
            f"{max(pairs):.2f} in {runs} pairs; {same:.1%} of results alike"
        )
    return {
        "name": "evaluation",
        "tasks": results,
        "unit": f"questions per {'CPU-second, one thread' if device == 'cpu' else 'wall second, CUDA'}",
        "dtype": language_model.resolved_dtype(),
        "runs": runs,
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers")},
        "command": shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]),
    }


def _requests(asked: Any, model: Any) -> tuple[str, list[Any]]:
    """The harness's requests for the questions, with the chat template, and their kind."""
    from assets.evaluation.benchmarks.tasks import build_task

    found: list[Any] = []
    for task in sorted({one.task for one in asked.questions}):
        with contextlib.redirect_stderr(io.StringIO()):
            built = build_task(
                asked.benchmark,
                [one for one in asked.questions if one.task == task],
                asked.examples,
                asked.few_shot,
            )
            built.build_all_requests(
                apply_chat_template=True,
                fewshot_as_multiturn=True,
                chat_template=model.apply_chat_template,
            )
        found += built.instances
    return found[0].request_type, found


def _best_peer(
    pair: tuple[Any, Any], kind: str, requests: list[Any], batches: tuple[int | str, ...], device: str
) -> tuple[int | str, Any]:
    """The hf backend with the batch size that takes least time; the first pass of each warms it up."""
    from lm_eval.models.huggingface import HFLM

    best: tuple[float, int | str, Any] | None = None
    for batch in batches:
        model = HFLM(pretrained=pair[0], tokenizer=pair[1], batch_size=batch)
        seconds, _ = _timed(model, kind, requests, device)
        if best is None or seconds < best[0]:
            best = seconds, batch, model
    assert best is not None
    return best[1], best[2]


def _timed(model: Any, kind: str, requests: list[Any], device: str) -> tuple[float, list[Any]]:
    import torch

    clock: Callable[[], float] = time.process_time if device == "cpu" else time.perf_counter
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        started = clock()
        found = getattr(model, kind)(requests)
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - started, found


def _same(one: Any, other: Any, kind: str) -> bool:
    """Equal texts, or log-likelihoods within half a nat: the hf backend's softmax is bfloat16, ours float32."""
    return bool(one == other if kind == "generate_until" else abs(one[0] - other[0]) < 0.5)


@contextmanager
def _untracked(*_: Any) -> Iterator[Any]:
    from resources.progress import Progress

    yield Progress("", None, "", lambda text: None)
