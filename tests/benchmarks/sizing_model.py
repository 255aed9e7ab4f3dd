"""The part of the sizing page that is about a model of 7 billion parameters: what training takes, by its products."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.growth_fit import CPU, Line
from tests.benchmarks.training import PEAKS

PARAMETERS = 7e9
ROWS = 100_000_000
NODE_GPUS = 8
GPU_GB = 80
CHECKPOINT_BYTES = 2
"""Of a parameter: bfloat16."""

ASSUMED_SHARE = 0.35
"""Of the device's peak, where no measurement is kept: what is commonly reported for training of this size."""

NODES_SHARE = 0.9
"""Of a node's pace, that each of several has: what gradients on the network cost. Assumed."""

LORA, FULL = 4, 6
"""Floating-point operations for a token and parameter: forward 2, backward 2 to the states and 2 to the weights."""

FULL_BYTES = 18
"""Of a parameter: weights and gradients in float32 and bfloat16, and Adam's two moments."""


@dataclass(frozen=True)
class Utilisation:
    """The share of an H100's peak that training reaches, and where that figure is from."""

    share: float
    origin: str


def utilisation(lines: Sequence[Line]) -> Utilisation:
    """As measured on a device whose peak is known; else assumed, and said to be."""
    for line in reversed(lines):
        peak = line.found.get("peak")
        if peak:
            done = line.found["tokens"] * line.found["parameters"] * line.found["products"]
            share = done / line.wall_seconds / peak
            return Utilisation(
                share,
                f"measured on one {line.found['device']}, LoRA on {line.found['parameters']:,} parameters, "
                f"{line.rows:,} rows of {line.found['tokens'] / line.rows:,.0f} tokens, padded to the longest of their "
                f"step ({line.found['places'] / line.found['tokens']:.1f} places a token; by places it is "
                f"{share * line.found['places'] / line.found['tokens']:.0%}). "
                "Packing leaves padding out and was not measured",
            )
    return Utilisation(ASSUMED_SHARE, "ASSUMED: no measurement of a GPU is kept yet")


def model_section(lines: Sequence[Line]) -> list[str]:
    """What it takes to train on all rows once and on one per cent of them, in LoRA and in full."""
    if not lines:
        return []
    here = [line for line in lines if line.found["device"] == CPU]
    last = (here or list(lines))[-1]
    a_row = last.found["tokens"] / last.rows
    used = utilisation(lines)
    peak = PEAKS["H100"]
    text = [
        "## A model of 7 billion parameters",
        "",
        ASSUMED.format(
            a_row=a_row,
            rows=last.rows,
            tokens=last.found["tokens"],
            lora=LORA,
            full=FULL,
            peak=peak / 1e12,
            share=used.share,
            origin=used.origin,
            kept=NODES_SHARE,
        ),
        "",
        "| training | rows | tokens | operations | 8 × H100 | 4 nodes of 8 × H100 | weights, gradients and moments |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, products in (("LoRA", LORA), ("full", FULL)):
        for share in (0.01, 1.0):
            tokens = ROWS * share * a_row
            operations = tokens * products * PARAMETERS
            one = operations / (NODE_GPUS * peak * used.share) / 3600
            text.append(
                f"| {name} | {ROWS * share:,.0f} | {tokens:.2g} | {operations:.2g} | {one:,.1f} h | "
                f"{one / 4 / NODES_SHARE:,.1f} h | {_memory(products)} |"
            )
    text += [
        "",
        MEMORY.format(
            lora=_gigabytes(LORA), full=_gigabytes(FULL), bytes=FULL_BYTES, node=NODE_GPUS * GPU_GB
        ),
    ]
    if here:
        pace = last.found["tokens"] * last.found["parameters"] * last.found["products"] / last.cpu_seconds
        core_hours = ROWS * 0.01 * a_row * LORA * PARAMETERS / pace / 3600
        text += [
            "",
            f"A core without a GPU did {pace / 1e9:,.0f} GFLOP/s ({last.rows} rows of a model of "
            f"{last.found['parameters']:,} parameters): one per cent of the rows would take "
            f"{core_hours:,.0f} core-hours with LoRA.",
        ]
    return [*text, ""]


def _memory(products: int) -> str:
    return f"{_gigabytes(products):,.0f} GB" + (" on each GPU" if products == LORA else " over all GPUs")


def _gigabytes(products: int) -> float:
    return (CHECKPOINT_BYTES if products == LORA else FULL_BYTES) * PARAMETERS / 1e9


ASSUMED = """A row has {a_row:,.0f} tokens in the mean (measured on {rows} rows, {tokens:,} tokens). A token costs
{lora} floating-point operations a parameter with LoRA and {full} in full training; attention comes on top. An H100 has
a peak of {peak:,.0f} TFLOP/s (bfloat16, dense), of which {share:.0%} is reached: **{origin}**. Several nodes keep
{kept:.0%} of their pace (assumed)."""

MEMORY = """Memory follows from the method: with LoRA the weights in bfloat16, {lora:,.0f} GB on each GPU; in full
training {bytes} bytes a parameter, {full:,.0f} GB, which `sharding: fsdp` spreads over the {node} GB of a node.
Activations come on top and follow `micro_batch`. A full checkpoint has {lora:,.0f} GB."""
