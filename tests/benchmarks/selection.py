"""Selection beside its peers: the DEITA filter, IFD by Superfiltering's code, and DataFlex's selectors.

CPU-seconds, one thread, every side a process of its own. Peers run from their own checkouts and virtual
environments, which environment variables name; nothing of theirs is here. A peer that is absent is skipped:

    git clone https://github.com/hkust-nlp/deita                 # measured at b279f2c
    git clone https://github.com/MingLiiii/Superfiltering        # 0c79526
    git clone https://github.com/OpenDCAI/DataFlex               # 3c13e37
    python -m venv PEERS && PEERS/bin/pip install torch==2.13.0
    PEERS/bin/pip install transformers accelerate pandas tqdm
    python -m venv FLEX && FLEX/bin/pip install torch==2.13.0
    FLEX/bin/pip install transformers==4.54.1 llamafactory==0.9.4 'pyarrow<20' traker omegaconf

    SULTANA_BENCH_PEERS=PEERS SULTANA_BENCH_DEITA=deita SULTANA_BENCH_SUPERFILTERING=Superfiltering \\
    SULTANA_BENCH_DATAFLEX_PEERS=FLEX SULTANA_BENCH_DATAFLEX=DataFlex \\
    make bench BENCH="deita_filter ifd selection_overhead"

LLaMA-Factory imports torchaudio and, where it is there, torchvision, though training on text uses neither:
both must be of the same build as torch (CPU or CUDA), or they fail to load; where there is no such build of
torchaudio, an empty package of that name will do. Rows are of
`instructions/alpaca_random_9k.jsonl.gz` in the folder that SULTANA_SHARED_DATA names, else of the starter
corpus; the model is the embedded SmolLM2-135M-Instruct on every side.
"""

import gzip
import json
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.language_model import LanguageModel
from tests.benchmarks import dataflex
from tests.benchmarks.corpora import write_corpus
from tests.benchmarks.runner import SkippedError, peer_python, run_side, say

Results = list[dict[str, Any]]

DEITA_ROWS = (2_000, 6_000)
DEITA_DIMENSION = 576
DEITA_THRESHOLD = 0.9

IFD_ROWS = 24
IFD_FORMS = {"ours_losses": "their token ids", "ours_ifd": "our template"}

POOL_ROWS = 16
REWARD_ROWS = 8
BATCH = 4
LENGTH = 512
LONGEST = 1_500  # characters of a row: no side cuts any
RAISE_ROWS = 52_000
RAISE_BATCH = 16


def deita_filter(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """DEITA's filter against ours on the same vectors: raises AssertionError where a single pick differs."""
    checkout, python = _checkout("SULTANA_BENCH_DEITA"), peer_python()
    cases = []
    for count in (rows,) if rows else DEITA_ROWS:
        request = _vectors(folder, count) | {"threshold": DEITA_THRESHOLD, "checkout": checkout}
        ours: Results = []
        peer: Results = []
        for run in range(runs):
            ours.append(_side("ours_deita", folder, request))
            peer.append(_side("peer_deita", folder, request, python))
            assert ours[-1]["kept"] == peer[-1]["kept"], "the two filters keep different rows"
            _tell(f"deita_filter {run + 1}/{runs}, {count:,} rows", "filter", ours[-1], "DEITA", peer[-1])
        cases.append(
            _compared(f"deita_filter, {count:,} rows", "filter", ours, peer)
            | {"rows": count, "kept": len(ours[0]["kept"]), "identical_picks": True}
        )
        say(f"deita_filter, {count:,} rows: the same {len(ours[0]['kept']):,} rows in the same order")
    return _line("deita_filter", "CPU-seconds", runs, cases, ours, peer) | {"dimension": DEITA_DIMENSION}


def ifd(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """IFD of Superfiltering's form, its code (float32) against ours.

    The templates differ: theirs is the bare text, and of the response alone its first token is not scored;
    ours is the model's chat template, and both sums run over the same tokens. So ours is measured twice:
    on their very token ids, where it must find their losses, and with the template, scores compared by rank.
    """
    checkout, python = _checkout("SULTANA_BENCH_SUPERFILTERING"), peer_python()
    file, source = _alpaca(folder, rows or IFD_ROWS)
    request = {"rows": str(file), "folder": str(folder), "checkout": checkout, "model": str(_model(folder))}
    chosen = LanguageModel().resolved_dtype()
    forms = (("ours_losses", "float32"), ("ours_losses", chosen), ("ours_ifd", chosen))
    found: dict[tuple[str, str], Results] = {form: [] for form in forms}  # two where float32 is chosen
    peer: Results = []
    for run in range(runs):
        peer.append(_side("peer_ifd", folder, request, python))
        for (side, dtype), results in found.items():
            results.append(_side(side, folder, request | {"dtype": dtype}))
            what = f"ifd {run + 1}/{runs}, {IFD_FORMS[side]}, {dtype}, {results[-1]['tokens']:,} tokens"
            _tell(what, "score", results[-1], "Superfiltering", peer[-1])
    cases = []
    for (side, dtype), results in found.items():
        what = f"ifd, {IFD_FORMS[side]}, {dtype}"
        case = {"form": IFD_FORMS[side], "dtype": dtype, "tokens": results[0]["tokens"]}
        case |= _compared(what, "score", results, peer)
        if side == "ours_ifd":
            case["rank_correlation"] = _rank_correlation(results[0]["scores"], peer[0]["scores"])
            say(f"{what}: rank correlation with their scores {case['rank_correlation']:.3f}")
        else:
            off = [np.abs(np.subtract(results[0][kind], peer[0][kind])).max() for kind in ("given", "alone")]
            case["largest_difference_of_losses"] = float(max(off))
            say(f"{what}: losses differ by at most {max(off):.1e} nats a token")
            assert dtype != "float32" or max(off) < 1e-3, "our scorer finds other losses on the same tokens"
        cases.append(case)
    return _line("ifd", "CPU-seconds", runs, cases, results, peer) | {
        "rows": len(peer[0]["scores"]),
        "corpus": source,
    }


def selection_overhead(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """What selecting costs, in units of training one row of the pool on the same side.

    DataFlex's trainer scores its whole pool at each selection: c rows' training for each row of the pool.
    Ours are scored likewise by loss and by gradient, with adapters on all layers as there, and on the upper
    six; RAISE, whose networks score kept features, is measured on a pool of `RAISE_ROWS` rows. Its features
    (two forwards a row, once) and its rewards are not in this figure.
    """
    pool, source = _alpaca(folder, (rows or POOL_ROWS) + REWARD_ROWS)
    every = json.loads(pool.read_text(encoding="utf-8"))
    reward = folder / "reward.json"
    pool.write_text(json.dumps(every[REWARD_ROWS:]), encoding="utf-8")
    reward.write_text(json.dumps(every[:REWARD_ROWS]), encoding="utf-8")
    model = _model(folder)
    request = {"rows": str(pool), "reward_rows": str(reward), "model": str(model), "length": LENGTH}
    request |= {"batch": BATCH, "steps": dataflex.WARMUP_STEPS + dataflex.UPDATE_STEPS}
    request |= {"projection": dataflex.PROJECTION, "targets": dataflex.TARGETS}
    costs: dict[str, list[float]] = {}
    training: dict[str, list[float]] = {}
    skipped: dict[str, str] = {}
    versions: dict[str, Any] = {}
    theirs_asked: dict[str, dict[str, str]] = {}
    try:
        checkout = _checkout("SULTANA_BENCH_DATAFLEX")
        python = _python_of("SULTANA_BENCH_DATAFLEX_PEERS")
        bfloat16 = LanguageModel().resolved_dtype() == "bfloat16"
        theirs_asked = dataflex.requests(
            folder, model, checkout, batch=BATCH, length=LENGTH, bfloat16=bfloat16
        )
    except SkippedError as reason:
        say(f"selection_overhead: DataFlex SKIPPED, {reason}")
        skipped["DataFlex"] = str(reason)
    for run in range(runs):
        for layers in ("all", 6):
            ours = _side("ours_overhead", folder, request | {"layers": layers})
            versions["ours"] = ours["versions"] | {"dtype": ours["dtype"]}
            say(f"selection_overhead {run + 1}/{runs}, ours, {layers}: CPU-seconds {ours['seconds']}")
            one_row = _training_a_row(ours, ours["pool_rows"])
            where = "all layers" if layers == "all" else f"upper {layers} layers"
            training.setdefault(f"ours, {where}", []).append(one_row)
            for name in ("loss", "gradient_alignment", "less"):
                cost = ours["seconds"][name] / ours["pool_rows"] / one_row
                costs.setdefault(f"ours, {name}, {where}", []).append(cost)
        raised = _side(
            "ours_raise", folder, {"rows": RAISE_ROWS, "clusters": 32, "steps": 8, "batch": RAISE_BATCH}
        )
        of_all_layers = training["ours, all layers"][-1]
        costs.setdefault("ours, raise", []).append(raised["seconds"]["raise"] / RAISE_ROWS / of_all_layers)
        for selector, asked in theirs_asked.items():
            if f"DataFlex, {selector}" in skipped:
                continue
            try:
                theirs = _side("peer_dataflex", folder, asked, python)
            except SkippedError as reason:
                say(f"selection_overhead: DataFlex, {selector} SKIPPED, {reason}")
                skipped[f"DataFlex, {selector}"] = str(reason)
                continue
            versions["DataFlex"] = theirs["versions"]
            one_row = _training_a_row(theirs, len(every) - REWARD_ROWS)
            training.setdefault("DataFlex", []).append(one_row)
            projecting = theirs["seconds"].get("projecting", 0.0)
            passes = theirs["seconds"]["selecting"] - projecting
            for part, seconds in ((selector, passes), (f"{selector}, its projection", projecting)):
                if seconds:
                    cost = seconds / theirs["selections"] / (len(every) - REWARD_ROWS) / one_row
                    costs.setdefault(f"DataFlex, {part}", []).append(cost)
            say(f"selection_overhead {run + 1}/{runs}, DataFlex, {selector}: CPU-seconds {theirs['seconds']}")
        say(
            f"selection_overhead {run + 1}/{runs}: "
            + "; ".join(f"{name} {found[-1]:.3g}" for name, found in costs.items())
        )
    for name, found in training.items():
        say(f"selection_overhead: training a row costs {name} {_spread(found)} CPU-seconds")
    for name, found in costs.items():
        once = statistics.median(found) * RAISE_ROWS
        say(
            f"selection_overhead: {name} costs {_spread(found)} of training a row, for each row of the pool; "
            f"one selection from {RAISE_ROWS:,} rows {once:,.3g} rows' training"
        )
    return {
        "name": "selection_overhead",
        "unit": "training one row of the pool, for each row of the pool at one selection",
        "costs": {name: _summary(found) for name, found in costs.items()},
        "cpu_seconds_to_train_a_row": {name: _summary(found) for name, found in training.items()},
        "pool_rows": len(every) - REWARD_ROWS,
        "reward_rows": REWARD_ROWS,
        "raise_rows": RAISE_ROWS,
        "less_dimensions": dataflex.PROJECTION,
        "corpus": source,
        "skipped": skipped,
        "runs": runs,
        "versions": versions,
        "command": _command(),
    }


def _training_a_row(side: dict[str, Any], pool_rows: int) -> float:
    """CPU-seconds of training a row of the pool's mean length: batches of other rows are brought to it."""
    a_token: float = side["seconds"]["training"] / side["trained_tokens"]
    return a_token * side["pool_tokens"] / pool_rows


def _checkout(variable: str) -> str:
    folder = os.environ.get(variable)
    if not folder or not Path(folder).is_dir():
        raise SkippedError(f"{variable} names no checkout of the peer")
    return str(Path(folder).absolute())


def _python_of(variable: str) -> str:
    python = Path(os.environ.get(variable, "")).absolute() / "bin" / "python"
    if variable not in os.environ or not python.exists():
        raise SkippedError(f"{variable} names no virtual environment")
    return str(python)


def _model(folder: Path) -> Path:
    (folder / "models").mkdir()
    return LanguageModel(folder=folder / "models").files().absolute()


def _vectors(folder: Path, count: int) -> dict[str, str]:
    """Points around 1,000 centres, so close that the filter leaves out about half, and a random order."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((1_000, DEITA_DIMENSION))
    noise = random.uniform(0.1, 0.6, (count, 1)) * random.standard_normal((count, DEITA_DIMENSION))
    files = {name: str(folder / f"{name}.npy") for name in ("vectors", "order")}
    np.save(files["vectors"], (centres[random.integers(0, 1_000, count)] + noise).astype(np.float32))
    np.save(files["order"], random.permutation(count))
    return files


def _alpaca(folder: Path, rows: int) -> tuple[Path, str]:
    """`rows` rows, evenly spaced over those with a response and at most `LONGEST` characters, as JSON."""
    shared = Path(os.environ.get("SULTANA_SHARED_DATA", "")) / "instructions" / "alpaca_random_9k.jsonl.gz"
    if shared.is_file():
        with gzip.open(shared, "rt", encoding="utf-8") as lines:
            read = [json.loads(line) for line in lines]
        source = "alpaca_random_9k of SULTANA_SHARED_DATA"
    else:
        corpus, source = write_corpus(folder, 4 * rows)
        with corpus.open(encoding="utf-8") as lines:
            read = [json.loads(line) for line in lines]
    found = [{name: row.get(name) or "" for name in ("instruction", "input", "output")} for row in read]
    found = [row for row in found if row["output"] and sum(map(len, row.values())) <= LONGEST]
    chosen = [found[place * len(found) // rows] for place in range(rows)]
    file = folder / "rows.json"
    file.write_text(json.dumps(chosen, ensure_ascii=False), encoding="utf-8")
    return file, source


def _side(name: str, folder: Path, request: dict[str, Any], python: str = sys.executable) -> dict[str, Any]:
    file = folder / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    return run_side("selection_sides", name, file, python=python, is_peer=name.startswith("peer"))


def _tell(what: str, measure: str, ours: dict[str, Any], peer_name: str, peer: dict[str, Any]) -> None:
    words = [
        f"{name} {side['seconds'][measure]:.3f} CPU-seconds, peak memory {side['peak_mib']:,.0f} MiB"
        for name, side in (("ours", ours), (peer_name, peer))
    ]
    say(f"{what}: {'; '.join(words)}")


def _compared(what: str, measure: str, ours: Results, peer: Results) -> dict[str, Any]:
    """Medians of both sides, the ratio theirs to ours, and its lowest and highest over pairs of runs."""
    mine, theirs = ([one["seconds"][measure] for one in sides] for sides in (ours, peer))
    ratios = [other / one for one, other in zip(mine, theirs, strict=True)]
    ratio = statistics.median(theirs) / statistics.median(mine)
    say(f"{what}: {ratio:.2f} times as fast, {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} pairs")
    return {
        "ours": round(statistics.median(mine), 4),
        "peer": round(statistics.median(theirs), 4),
        "ratio": round(ratio, 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def _line(
    name: str, unit: str, runs: int, cases: list[dict[str, Any]], ours: Results, peer: Results
) -> dict[str, Any]:
    return {
        "name": name,
        "unit": f"{unit}, one thread",
        "cases": cases,
        "peak_mib": {"ours": ours[-1]["peak_mib"], "peer": peer[-1]["peak_mib"]},
        "versions": {"ours": ours[0]["versions"], "peer": peer[0]["versions"]},
        "runs": runs,
        "command": _command(),
    }


def _command() -> str:
    return shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]])


def _summary(found: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}


def _spread(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.3g} ({min(found):.3g} to {max(found):.3g})"


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, of numbers without ties."""
    ranks: list[npt.NDArray[np.int64]] = [np.argsort(np.argsort(values)) for values in (one, other)]
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 4)
