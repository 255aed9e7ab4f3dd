"""Our tasks send what the harness's own tasks send, and their answers are scored alike.

The harness's own task is its YAML file as it comes, with `datasets` reading the same rows from a file in
the layout of the Hub in place of the Hub.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

import benchmark_files as files
import pytest
from harness_requests import untracked

from assets.evaluation.benchmarks.plan import Asked, BenchmarkSpec, read_benchmarks
from assets.evaluation.benchmarks.tasks import (
    build_task,
    completed_before_fence,
    fenced,
    pass_at_1,
    pass_at_k,
    task_folder,
    unanswerable,
)

CASES: dict[str, tuple[str, list[dict[str, Any]], list[dict[str, Any]], int]] = {
    "arc_challenge": ("arc/arc_challenge.yaml", files.ARC, files.ARC[:1], 0),
    "arc_easy": ("arc/arc_easy.yaml", files.ARC[:1], files.ARC[1:], 1),
    "commonsense_qa": ("commonsense_qa/default.yaml", files.COMMONSENSE, [], 0),
    "gsm8k": ("gsm8k/gsm8k.yaml", files.GSM8K[:2], files.GSM8K[2:], 2),
    "mmlu": ("mmlu/default/mmlu_anatomy.yaml", files.MMLU[:1], [], 0),
    "ifeval": ("ifeval/ifeval.yaml", files.IFEVAL, [], 0),
}


def ours(folder: Path, benchmark: str) -> tuple[Asked, Any]:
    _, rows, examples, few_shot = CASES[benchmark]
    spec = BenchmarkSpec(
        benchmark,
        files.written(folder, "ours", rows),
        few_shot,
        files.written(folder, "examples", examples) if few_shot else "",
    )
    (asked,) = read_benchmarks([spec], execute_generated_code=False, downloads=folder)
    return asked, build_task(benchmark, asked.questions, asked.examples, asked.few_shot)


def theirs(folder: Path, benchmark: str) -> Any:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    path, rows, examples, few_shot = CASES[benchmark]
    config = load_yaml(task_folder() / path)
    asked = config.get("test_split") or config["validation_split"]
    drawn = config.get("fewshot_split") or config.get("training_split")
    splits = {asked: rows} | ({drawn: examples} if examples else {})
    data = {name: str(folder / f"{name}.json") for name in splits}
    for name, found in splits.items():
        Path(data[name]).write_text("".join(json.dumps(row) + "\n" for row in found))
    for name in ("training_split", "validation_split", "fewshot_split"):
        if config.get(name) not in data:
            config.pop(name, None)
    config.pop("tag", None)
    config |= {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": data, "cache_dir": str(folder / "cache")},
        "num_fewshot": few_shot,
    }
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(1234)
    return task


def asked_of(task: Any, template: bool) -> list[Any]:
    def rendered(turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return json.dumps([turns, add_generation_prompt])

    task.build_all_requests(
        apply_chat_template=template,
        fewshot_as_multiturn=template,
        chat_template=rendered if template else None,
    )
    return [(one.request_type, one.args) for one in task.instances]


@pytest.mark.parametrize("benchmark", CASES)
def test_requests_are_those_of_the_harness(tmp_path: Path, benchmark: str) -> None:
    _, one = ours(tmp_path, benchmark)
    other = theirs(tmp_path, benchmark)
    for template in (False, True):
        assert asked_of(one, template) == asked_of(other, template)
    replies = ["The answer is 8.\n#### 8", "red green and blue tea with milk"]
    for doc, mine, reply in zip(other.eval_docs, one.eval_docs, replies, strict=False):
        if one.OUTPUT_TYPE == "generate_until":
            assert one.process_results(mine, [reply]) == other.process_results(doc, [reply])
        else:
            marks = [(-float(place), False) for place in range(len(one.doc_to_choice(mine)))]
            assert one.process_results(mine, marks) == other.process_results(doc, marks)


@pytest.mark.parametrize("name", ["humaneval", "humaneval_instruct", "mbpp", "mbpp_instruct"])
def test_prompts_of_code_benchmarks_are_those_of_the_harness(tmp_path: Path, name: str) -> None:
    """Their modules run code as soon as they are imported: the files are compared as they are written."""
    from lm_eval.tasks._yaml_loader import load_yaml

    rows = files.MBPP if name.startswith("mbpp") else files.HUMANEVAL
    (asked,) = read_benchmarks(
        [BenchmarkSpec(name, files.written(tmp_path, name, rows))],
        execute_generated_code=True,
        downloads=tmp_path,
    )
    task = build_task(name, asked.questions, asked.examples, asked.few_shot)
    written = load_yaml(
        task_folder() / f"{name.split('_')[0]}/{name}.yaml",
        resolve_func=False,
    )
    for field in ("doc_to_text", "doc_to_target", "gen_prefix", "target_delimiter", "generation_kwargs"):
        if field in written:
            assert getattr(task.config, field) == written[field], field
    assert asked.few_shot == written["num_fewshot"]
    requests = asked_of(task, template=False)
    assert len(requests) == 1
    if name.startswith("mbpp"):
        assert [one.doc["task_id"] for one in asked.questions] == [12]
        assert requests[0][1][0].count("return x + ") == 3


def test_the_three_examples_of_mbpp_are_those_of_the_harness(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "benchmarks" / "mbpp.jsonl.gz"
    (asked,) = read_benchmarks(
        [BenchmarkSpec("mbpp", str(path))], execute_generated_code=True, downloads=tmp_path
    )
    module = ast.parse((task_folder() / "mbpp" / "utils.py").read_text(encoding="utf-8"))
    (function,) = [
        one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == "list_fewshot_samples"
    ]
    assert isinstance(function.body[-1], ast.Return) and function.body[-1].value is not None
    samples = ast.literal_eval(function.body[-1].value)
    assert [{**one.doc, "is_fewshot": True} for one in asked.examples] == samples


def test_code_is_judged_by_its_tests() -> None:
    right = "def double(number):\n    return 2 * number\n"
    (row,) = files.HUMANEVAL
    test = f"{row['test']}\ncheck({row['entry_point']})"
    assert pass_at_k([test], [[right]], [1]) == {"pass@1": 1.0}
    assert pass_at_k([test], [["def double(number):\n    return number\n"]], [1]) == {"pass@1": 0.0}
    assert pass_at_1("\n".join(files.MBPP[0]["test_list"]), [files.MBPP[0]["code"]]) == 1.0
    assert pass_at_1(["assert add(1) == 0"], [files.MBPP[0]["code"]]) == 0.0
    docs = [{"prompt": "def f():\n"}]
    assert completed_before_fence([["    return 1\n```\nDone."]], docs) == [["def f():\n    return 1\n"]]


def test_code_is_cut_out_as_the_harness_does() -> None:
    """Its quirk too: a first word that follows the fence at once is taken for the language's name."""
    module = ast.parse((task_folder() / "mbpp" / "utils.py").read_text(encoding="utf-8"))
    wanted = [
        one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == "extract_code_blocks"
    ]
    theirs: dict[str, Any] = {"re": re}
    exec(compile(ast.Module(wanted, []), "utils.py", "exec"), theirs)
    replies = [
        "\nx = 1\n```",
        "x = 1\n```",
        "no fence",
        "```python\ny = 2\n```",
        "python\nz\n``` and ```a```",
    ]
    assert fenced([replies], []) == [[theirs["extract_code_blocks"](one) for one in replies]]
    assert fenced([replies], [])[0][0] == "x = 1"


def test_questions_that_cannot_be_judged_are_named(tmp_path: Path) -> None:
    import nltk

    rows = [*files.IFEVAL, {**files.IFEVAL[1], "key": 3, "prompt": "Three sentences."}]
    rows[-1] = {
        **rows[-1],
        "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{"num_sentences": 3, "relation": "at least"}],
    }
    (asked,) = read_benchmarks(
        [BenchmarkSpec("ifeval", files.written(tmp_path, "ifeval", rows))],
        execute_generated_code=False,
        downloads=tmp_path,
    )
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        assert len(asked.questions) == 2 and "punkt_tab" in next(iter(asked.left_out.values()))
    else:
        assert len(asked.questions) == 3 and not asked.left_out
    assert unanswerable("gsm8k", asked.questions) == {}


def test_the_embedded_model_gets_the_scores_of_the_harness(tmp_path: Path, models_folder: Path) -> None:
    """Everything at once: our task and model class, against the harness's task and hf backend."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from assets.evaluation.benchmarks.score import run_benchmarks
    from assets.evaluation.loaded import held
    from resources.language_model import LanguageModel

    pair = LanguageModel(folder=models_folder, dtype="float32").load()
    asked, _ = ours(tmp_path, "arc_challenge")
    scores, answers = run_benchmarks(
        held(*pair), [asked], apply_chat_template=True, batch_tokens=512, track=untracked
    )
    expected = evaluate(
        HFLM(pretrained=pair[0], tokenizer=pair[1], batch_size=4),
        {"tasks": {"arc_challenge": theirs(tmp_path, "arc_challenge")}},
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=100,
    )["results"]["arc_challenge"]
    assert [one.metric for one in scores] == ["acc", "acc_norm"]
    for one in scores:
        assert one.value == expected[f"{one.metric},none"]
        assert one.standard_error == pytest.approx(expected[f"{one.metric}_stderr,none"])
    assert [one.expected for one in answers] == ["the Sun", "sunlight"]
    assert all(one.got in row["choices"]["text"] for one, row in zip(answers, files.ARC, strict=True))
