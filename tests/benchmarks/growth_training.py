"""The stage of `growth` that trains: LoRA steps, whose work is that of their tokens, on the device that there is."""

from pathlib import Path

from tests.benchmarks import growth_inputs as inputs
from tests.benchmarks.growth_rows import Found, Work

STEP_ROWS = 4
CUDA_STEP_ROWS = 64
LENGTH = 512
PRODUCTS = 4
"""Floating-point operations of LoRA for a token and parameter: two forward, two for what reaches states backward."""


def training(folder: Path, out: Path, rows: int) -> Work:
    """Steps of the embedded model on a CPU, or on a CUDA device of a Llama of 1.2 billion random weights."""
    import torch

    from assets.finetuning.encoding import ChatEncoder
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow
    from resources.language_model import LanguageModel
    from tests.benchmarks.training import PEAKS, large_llama

    on_cuda = torch.cuda.is_available()
    embedded = LanguageModel(folder=folder / "models")
    name = str(large_llama(folder / "llama", embedded.files().absolute())) if on_cuda else embedded.name
    model, tokenizer = LanguageModel(name, folder=folder / "models").load() if on_cuda else embedded.load()
    size = CUDA_STEP_ROWS if on_cuda else STEP_ROWS
    turns = [
        [
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": row["output"]},
        ]
        for row in inputs.text_rows(rows + size)
    ]
    encoded, _ = ChatEncoder(tokenizer).encode_all(
        [(str(number), messages) for number, messages in enumerate(turns)], LENGTH
    )
    every = [TrainingRow(one.row_id, (one,)) for one in encoded]
    steps = [every[start : start + size] for start in range(0, len(every), size)]
    session = TrainingSession(
        (model, tokenizer), TrainingConfig(maximum_length=LENGTH, micro_batch=size), len(steps)
    )
    session.step(steps[0])  # memory is taken and kernels are chosen at the first one
    parameters = sum(one.numel() for one in model.parameters())
    device = torch.cuda.get_device_name() if on_cuda else "CPU"

    def work() -> Found:
        tokens = sum(session.step(step).tokens for step in steps[1:])
        if on_cuda:
            torch.cuda.synchronize()
        return {
            "tokens": tokens,
            "places": sum(len(step) * max(len(one.parents[0]) for one in step) for step in steps[1:]),
            "parameters": parameters,
            "products": PRODUCTS,
            "device": device,
            "peak": next((peak for name, peak in PEAKS.items() if name in device), None),
        }

    return work
