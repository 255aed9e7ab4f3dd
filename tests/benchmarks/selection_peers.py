"""The peers' sides of the benchmark of selection: run in environments of their own, which lack Sultana."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.side_process import Meter, Request, cpu_seconds, module_at


def peer_deita(request: Request) -> Request:
    """DEITA's IterativeFilter on the CPU, with its defaults, until the pool ends.

    Its module is loaded from its file: the package around it imports vLLM. Sorting is left to who uses the
    class, and is by a column here.
    """
    import numpy as np
    import pandas as pd

    module = module_at("deita_filter_base", Path(request["checkout"]) / "src/deita/selection/filter/base.py")

    class ByScore(module.IterativeFilter):
        def _sort(self, df: Any) -> Any:
            return df.sort_values(by="final_score", ascending=False)

    vectors, order = np.load(request["vectors"]), np.load(request["order"])
    scores = np.empty(len(order))
    scores[order] = np.arange(len(order), 0, -1)
    rows = pd.DataFrame({"embedding": list(vectors), "final_score": scores})
    settings = {"threshold": request["threshold"], "data_size": -1, "chunk_size": 100_000, "device": "cpu"}
    ByScore(**settings).filter(rows[:64])
    meter = Meter()
    with meter("filter"):
        kept = ByScore(**settings).filter(rows)
    return {"seconds": meter.seconds, "kept": kept.index.tolist()}


def peer_ifd(request: Request) -> Request:
    """Superfiltering's data_analysis.py, its own main() from the moment that its model is loaded."""
    module = module_at("data_analysis", Path(request["checkout"]) / "code_ifd/data_analysis.py")
    results = Path(request["folder"]) / "superfiltering.jsonl"
    results.unlink(missing_ok=True)
    started: list[float] = []
    tokenizers = module.AutoTokenizer

    class Loaded:
        @staticmethod
        def from_pretrained(*arguments: Any, **named: Any) -> Any:
            tokenizer = tokenizers.from_pretrained(*arguments, **named)
            started.append(cpu_seconds())  # its main() loads the tokenizer last
            return tokenizer

    module.AutoTokenizer = Loaded
    sys.argv = ["data_analysis.py", "--data_path", request["rows"], "--save_path", str(results)]
    sys.argv += ["--model_name_or_path", request["model"]]
    module.main()
    seconds = cpu_seconds() - started[0]
    found = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    failed = sum(0 in (one["ppl"][1], one["ppl"][3]) for one in found)
    if failed:
        raise SystemExit(f"its code failed on {failed} rows, which it reports as perplexity 0")
    return {
        "seconds": {"score": seconds},
        "scores": [one["ppl"][3] / one["ppl"][1] for one in found],
        "given": [one["loss"][3] for one in found],
        "alone": [one["loss"][1] for one in found],
    }


def peer_dataflex(request: Request) -> Request:
    """DataFlex's own trainer, from its command's main(), with the selector that `request` names.

    Measured are the training loop, within it select(), and within that the projection of gradients; the
    tokens of its batches are counted.
    """
    sys.path.insert(0, str(Path(request["checkout"]) / "src"))
    os.chdir(request["folder"])
    for stale in Path().glob("cache_*"):
        shutil.rmtree(stale)  # keyed by the step alone: a second run would read the first one's picks
    from dataflex import cli
    from dataflex.train.selector.less_selector import LessSelector
    from dataflex.train.selector.loss_selector import LossSelector
    from trak.projectors import BasicProjector

    meter, tokens, pool_tokens = Meter(), [], []
    BasicProjector.project = meter.metered(BasicProjector.project, "projecting")

    def metered(select: Any) -> Any:
        def call(selector: Any, *arguments: Any, **named: Any) -> Any:
            pool_tokens.append(sum(len(row["input_ids"]) for row in selector.dataset))
            with meter("selecting"):
                return select(selector, *arguments, **named)

        return call

    for selector in (LossSelector, LessSelector):
        selector.select = metered(selector.select)
    patch = cli.patch_trainer

    def patch_trainer(kind: str) -> None:
        patch(kind)
        from dataflex.train.trainer.select_trainer import SelectTrainer

        train = SelectTrainer.training_step

        def training_step(trainer: Any, model: Any, inputs: Any, *arguments: Any) -> Any:
            tokens.append(int(inputs["attention_mask"].sum()))
            return train(trainer, model, inputs, *arguments)

        SelectTrainer.training_step = training_step
        SelectTrainer._inner_training_loop = meter.metered(SelectTrainer._inner_training_loop, "loop")

    cli.patch_trainer = patch_trainer
    sys.argv = ["dataflex-cli", "train", request["settings"]]
    cli.main()
    selecting = meter.seconds["selecting"]
    return {
        "seconds": meter.seconds | {"training": meter.seconds["loop"] - selecting},
        "trained_tokens": sum(tokens),
        "training_steps": len(tokens),
        "selections": len(pool_tokens),
        "pool_tokens": pool_tokens[0],
    }
