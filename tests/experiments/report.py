"""The table of an experiment: means, spread, and paired differences from plain SFT with 95 % intervals."""

from typing import Any

import numpy as np
from scipy.stats import t

PLAIN = "plain SFT"


def paired(differences: list[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % interval (Student's t); the half width of one value is infinite."""
    values = np.array(differences)
    if len(values) < 2:
        return float(values.mean()), float("inf")
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def report(lines: list[dict[str, Any]]) -> str:
    """A Markdown table, one line an arm in the order in which they first came."""
    if not lines:
        return "Nothing has been run with these settings."
    plain = {line["seed"]: line for line in lines if line["arm"] == PLAIN}
    benchmarks = [name for name in sorted(lines[0]["loss"]) if name != "mean"]
    head = ["arm", "seeds", "mixes", "loss", "Δ loss (95 %)", "accuracy", "Δ accuracy (95 %)", "CPU-s"]
    out = [head + [f"{name}: loss, accuracy" for name in benchmarks]]
    for arm in dict.fromkeys(line["arm"] for line in lines):
        mine = [line for line in lines if line["arm"] == arm]
        cells = [arm, str(len(mine)), f"{np.mean([line['mixes'] for line in mine]):.0%}"]
        for kind, digits in (("loss", 4), ("accuracy", 3)):
            values = [line[kind]["mean"] for line in mine]
            spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
            cells.append(f"{np.mean(values):.{digits}f} ± {spread:.{digits}f}")
            pairs = [line for line in mine if line["seed"] in plain]
            differences = [line[kind]["mean"] - plain[line["seed"]][kind]["mean"] for line in pairs]
            if arm == PLAIN or not differences:
                cells.append("–")
            else:
                mean, half = paired(differences)
                cells.append(f"{mean:+.{digits}f} ± {half:.{digits}f}")
        cells.append(f"{np.mean([line['cpu_seconds'] for line in mine]):.0f}")
        for name in benchmarks:
            loss = np.mean([line["loss"][name] for line in mine])
            accuracy = [line["accuracy"][name] for line in mine if name in line["accuracy"]]
            cells.append(f"{loss:.3f}" + (f", {np.mean(accuracy):.3f}" if accuracy else ""))
        out.append(cells)
    lines_out = ["| " + " | ".join(row) + " |" for row in out]
    lines_out.insert(1, "|" + "---|" * len(out[0]))
    return "\n".join(lines_out)
