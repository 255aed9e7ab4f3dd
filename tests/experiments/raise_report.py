"""The tables of the experiment on selection: for each pool, device and reward, every arm against random.

Runs on a CUDA device are compared among themselves: their numbers differ from the CPU's. So are runs that saw the
same candidates; of several sets of them, the one that most runs saw comes first. Gains are random's loss
less the arm's, and the arm's accuracy less random's: above zero the arm is better. They are paired by seed, with
a 95 % interval. Φ is what one full-data training would cost: three epochs over the pool's tokens at the
CPU-seconds a token that the final trainings of random took; of CUDA devices no cost is told.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tests.experiments.report import paired
from tests.experiments.rewards import REWARDS

RANDOM = "random"
CPU = "cpu"
DEVICES = (CPU, "cuda")
EPOCHS = 3


def summary(
    lines: Sequence[dict[str, Any]], pools: Sequence[str], rewards: Sequence[str]
) -> list[dict[str, Any]]:
    """For each pool, device, set of candidates and reward that was run: Φ in CPU-seconds, and an entry an arm."""
    found = []
    for pool, device, number, here in _compared(lines, pools):
        plain = [line for line in here if line["arm"] == RANDOM]
        phi = full_training(plain) if device == CPU else None
        for reward in rewards:
            mine = [
                line
                for line in here
                if line["reward"] in ((reward,) if reward == "gsm8k" else (reward, None))
                and set(REWARDS[reward]) <= line["loss"].keys()
            ]
            if mine:
                found.append(
                    {
                        "pool": pool,
                        "device": device,
                        "candidates": number,
                        "reward": reward,
                        "pool_rows": mine[0]["pool_rows"],
                        "phi_cpu_seconds": phi,
                        "arms": _arms(mine, reward, phi),
                    }
                )
    return found


def _compared(
    lines: Sequence[dict[str, Any]], pools: Sequence[str]
) -> Iterator[tuple[str, str, int, list[dict[str, Any]]]]:
    """Lines that may be compared, with their pool, device and the number of their set of candidates, from 1."""
    for pool in pools:
        for device in DEVICES:
            ran = [line for line in lines if line["pool"] == pool and line.get("device", CPU) == device]
            sets = Counter(line["pool_key"] for line in ran).most_common()
            for number, (key, _) in enumerate(sets, start=1):
                yield pool, device, number, [line for line in ran if line["pool_key"] == key]


def full_training(lines: Sequence[dict[str, Any]]) -> float | None:
    """Φ in CPU-seconds, from the final trainings of random; None where there are none."""
    trained = [line for line in lines if line["tokens"]]
    if not trained:
        return None
    price = sum(line["cpu_seconds"]["final_training"] for line in trained) / sum(
        line["tokens"] for line in trained
    )
    return float(price * trained[0]["pool_tokens"] * EPOCHS)


def _arms(lines: Sequence[dict[str, Any]], reward: str, phi: float | None) -> list[dict[str, Any]]:
    plain = {line["seed"]: line for line in lines if line["arm"] == RANDOM}
    arms = []
    for arm in dict.fromkeys(line["arm"] for line in lines):
        mine = [line for line in lines if line["arm"] == arm]
        entry: dict[str, Any] = {"arm": arm, "seeds": [line["seed"] for line in mine]}
        for kind, sign in (("loss", -1.0), ("accuracy", 1.0)):
            values = [_score(line, kind, reward) for line in mine]
            entry[kind] = _mean(values)
            entry[f"{kind}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            differences = [
                sign * (_score(line, kind, reward) - _score(plain[line["seed"]], kind, reward))
                for line in mine
                if line["seed"] in plain
            ]
            if arm != RANDOM and differences:
                mean, half = paired(differences)
                entry[f"{kind}_gain"] = {"mean": mean, "half": half if np.isfinite(half) else None}
        shares = [line["relevant"].get(reward) for line in mine]
        entry["relevant"] = _mean([one for one in shares if one is not None])
        entry["relevant_among_candidates"] = _mean(
            [one for line in mine if (one := line["relevant_among_candidates"].get(reward)) is not None]
        )
        entry["distinct_rows"] = _mean([line["distinct_rows"] for line in mine])
        entry["reward_loss"] = _mean([line["reward_loss"][reward] for line in mine])
        for part in ("selecting", "final_training"):
            entry[f"{part}_cpu_seconds"] = _mean([line["cpu_seconds"][part] for line in mine])
            entry[f"{part}_phi"] = entry[f"{part}_cpu_seconds"] / phi if phi else None
        arms.append(entry)
    return arms


def _score(line: dict[str, Any], kind: str, reward: str) -> float:
    return float(np.mean([line[kind][name] for name in REWARDS[reward] if name in line[kind]]))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def overview(found: Sequence[dict[str, Any]]) -> str:
    """A Markdown table for each pool and device: an arm a line, and its gain in loss for each reward."""
    parts = []
    for place in dict.fromkeys(_place(one) for one in found):
        mine = [one for one in found if _place(one) == place]
        planted = any(arm["relevant"] is not None for one in mine for arm in one["arms"])
        head = [
            "arm",
            "seeds",
            *(one["reward"] for one in mine),
            *["relevant rows"] * planted,
            "selecting (Φ)",
        ]
        rows = [head, ["---"] * len(head)]
        for name in dict.fromkeys(arm["arm"] for one in mine for arm in one["arms"]):
            arms = [next((arm for arm in one["arms"] if arm["arm"] == name), None) for one in mine]
            known = [arm for arm in arms if arm is not None]
            counts = sorted({len(arm["seeds"]) for arm in known})
            shares = ", ".join(_share(arm) for arm in arms)
            costs = [arm["selecting_phi"] for arm in known if arm["selecting_phi"] is not None]
            rows.append(
                [
                    name,
                    "–".join(dict.fromkeys(str(count) for count in (counts[0], counts[-1]))),
                    *("–" if arm is None else _gain(arm.get("loss_gain"), 3) for arm in arms),
                    *[shares] * planted,
                    _cost(_mean(costs)),
                ]
            )
        parts.append(f"### Pool {place}: gain in loss against random (95 %)\n")
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")
    return "\n".join(parts)


def _place(one: dict[str, Any]) -> str:
    place = str(one["pool"]) if one["device"] == CPU else f"{one['pool']} on {one['device']}"
    return place if one["candidates"] == 1 else f"{place}, candidates {one['candidates']}"


def _share(arm: dict[str, Any] | None) -> str:
    return "–" if arm is None or arm["relevant"] is None else f"{arm['relevant']:.0%}"


def tables(found: Sequence[dict[str, Any]]) -> str:
    """The summary in Markdown."""
    if not found:
        return "Nothing has been run with these settings."
    parts = [overview(found)]
    for one in found:
        phi = f"; Φ = {one['phi_cpu_seconds']:,.0f} CPU-s" if one["phi_cpu_seconds"] else ""
        parts.append(f"### Pool {_place(one)} ({one['pool_rows']:,} rows), reward {one['reward']}{phi}\n")
        head = ["arm", "seeds", "loss", "gain in loss (95 %)", "accuracy", "gain in accuracy (95 %)"]
        head += ["relevant", "distinct rows", "loss on the reward set", "selecting (Φ)", "final training (Φ)"]
        rows = [head, ["---"] * len(head)]
        for arm in one["arms"]:
            rows.append(
                [
                    arm["arm"],
                    str(len(arm["seeds"])),
                    f"{arm['loss']:.4f}{_spread(arm['loss_spread'], 4)}",
                    _gain(arm.get("loss_gain"), 4),
                    f"{arm['accuracy']:.3f}{_spread(arm['accuracy_spread'], 3)}",
                    _gain(arm.get("accuracy_gain"), 3),
                    _share(arm),
                    f"{arm['distinct_rows']:.0f}",
                    f"{arm['reward_loss']:.4f}",
                    _cost(arm["selecting_phi"]),
                    _cost(arm["final_training_phi"]),
                ]
            )
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")
        among = next((arm["relevant_among_candidates"] for arm in one["arms"]), None)
        if among is not None:
            parts.append(f"Of the candidates, {among:.0%} are relevant.\n")
    return "\n".join(parts)


def _spread(value: float | None, digits: int) -> str:
    return "" if value is None else f" ± {value:.{digits}f}"


def _gain(gain: dict[str, Any] | None, digits: int) -> str:
    if gain is None:
        return "–"
    half = "?" if gain["half"] is None else f"{gain['half']:.{digits}f}"
    return f"{gain['mean']:+.{digits}f} ± {half}"


def _cost(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
