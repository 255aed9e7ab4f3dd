"""One side of the benchmark of training, run as a process: `python -m tests.benchmarks.training_sides SIDE FILE`.

FILE is a JSON object of what the side needs. Prints a line of JSON. Imports nothing of Sultana at the top:
TRL's environment does not have it. Only steps are measured, after the first ones: neither importing, loading
nor the tokenisation of the rows; making batches is.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.side_process import Request, cpu_seconds, messages_of, peak_mib, versions

WARMUP_STEPS = 2
RANK, ALPHA = 8, 16
LEARNING_RATE = 5e-4


class Clock:
    """CPU-seconds and seconds of a stretch of steps; on a CUDA device after all its work is done."""

    def __init__(self) -> None:
        self._from = (0.0, 0.0)

    def _now(self) -> tuple[float, float]:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return cpu_seconds(), time.perf_counter()

    def start(self) -> None:
        self._from = self._now()

    def stop(self) -> dict[str, float]:
        cpu, wall = (now - then for now, then in zip(self._now(), self._from, strict=True))
        return {"cpu_seconds": cpu, "seconds": wall}


def ours_sft(request: Request) -> Request:
    """LoRA on every linear layer, settings and passes as the asset `checkpoint` has them."""
    import torch

    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_job import PADDING_ON_CPU
    from assets.finetuning.training_row import TrainingRow
    from resources.language_model import LanguageModel

    model, tokenizer = LanguageModel(request["model"]).load()
    rows = json.loads(Path(request["rows"]).read_text(encoding="utf-8"))
    encoded, _ = ChatEncoder(tokenizer).encode_all(
        [(str(number), messages_of(row)) for number, row in enumerate(rows)], request["length"]
    )
    size = request["batch"]
    batches = [
        [TrainingRow(one.row_id, (one,)) for one in encoded[start : start + size]]
        for start in range(0, len(encoded), size)
    ]
    config = TrainingConfig(
        rank=RANK,
        alpha=ALPHA,
        learning_rate=LEARNING_RATE,
        maximum_length=request["length"],
        micro_batch=request["micro_batch"],
        packing=request.get("packing", False),
        method=request.get("method", "lora"),
    )
    most_padding = 1.0 if torch.cuda.is_available() else PADDING_ON_CPU
    session = TrainingSession((model, tokenizer), config, len(batches), most_padding=most_padding)
    clock, steps = Clock(), []
    for number, batch in enumerate(batches):
        if number == WARMUP_STEPS:
            clock.start()
        steps.append(session.step(batch))
    spent = clock.stop()
    measured = steps[WARMUP_STEPS:]
    return spent | {
        "tokens": sum(one.tokens for one in measured),
        "first_loss": steps[0].loss,
        "last_loss": steps[-1].loss,
        "parameters": sum(one.numel() for one in model.parameters()),
        "device": _device(),
    }


def peer_trl(request: Request) -> Request:
    """SFTTrainer: as it comes, or with the settings in the request."""
    import torch
    import transformers
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = json.loads(Path(request["rows"]).read_text(encoding="utf-8"))
    turns = [messages_of(row) for row in rows]
    if request["only_responses"]:
        data = Dataset.from_list([{"prompt": one[:1], "completion": one[1:]} for one in turns])
    else:
        data = Dataset.from_list([{"messages": one} for one in turns])
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["model"])
    loading = dict(request["loading"])
    if "dtype" in loading:
        loading["dtype"] = getattr(torch, loading["dtype"])
    model = transformers.AutoModelForCausalLM.from_pretrained(request["model"], **loading)
    settings = {
        "output_dir": request["folder"],
        "per_device_train_batch_size": request["micro_batch"],
        "gradient_accumulation_steps": request["batch"] // request["micro_batch"],
        "max_length": request["length"],
        "learning_rate": LEARNING_RATE,
        "num_train_epochs": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "seed": 0,
    }
    clock = Clock()
    steps = 0
    lengths: list[int] = []  # real tokens of each batch, in the order of steps
    spent: dict[str, float] = {}

    class Watch(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **named: Any) -> None:
            nonlocal spent, steps
            steps += 1
            if steps == WARMUP_STEPS:
                clock.start()
            spent = clock.stop()

    adapters = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**settings | request["settings"]),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=adapters if request.get("method", "lora") == "lora" else None,
        callbacks=[Watch()],
    )
    collate = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> Any:
        lengths.append(sum(len(one["input_ids"]) for one in examples))
        return collate(examples)

    trainer.data_collator = counted
    outcome = trainer.train()
    return spent | {
        "tokens": sum(lengths[WARMUP_STEPS:steps]),
        "steps": steps,
        "mean_loss": outcome.training_loss,
        "parameters": sum(one.numel() for one in model.parameters()),
        "device": _device(),
    }


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


SIDES: dict[str, Callable[[Request], Request]] = {"ours_sft": ours_sft, "peer_trl": peer_trl}


def main() -> None:
    request = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    result = SIDES[sys.argv[1]](request)
    result |= {"peak_mib": peak_mib(), "versions": versions()}
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
