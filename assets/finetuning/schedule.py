"""The course of the learning rate: linear warm-up, then constant, or down to 0 at the end."""

import math


def learning_rate(schedule: str, peak: float, step: int, warmup: int, total: int) -> float:
    """The learning rate of `step`, from 0, of `total`; the first `warmup` lead up to `peak`."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return peak
    share = (step - warmup) / max(1, total - warmup)
    if schedule == "linear":
        return peak * max(0.0, 1.0 - share)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
