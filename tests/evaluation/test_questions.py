"""Every layout of a benchmark becomes the same question; a file that is another benchmark's is refused."""

from pathlib import Path
from typing import Any

import benchmark_files as files
import pytest

from assets.evaluation.benchmarks.plan import BenchmarkSpec, read_benchmarks
from assets.evaluation.benchmarks.questions import chosen_by_hash, read_questions
from assets.evaluation.benchmarks.tasks import DEFINITIONS
from assets.instructions.sources import resolve
from resources.errors import SultanaError


def read(folder: Path, benchmark: str, rows: Any) -> Any:
    path = files.written(folder, "rows", rows)
    return read_questions(benchmark, resolve(path, downloads=folder))


def test_layouts_of_arc_and_commonsense_qa_are_one(tmp_path: Path) -> None:
    (reworded,) = read(tmp_path, "arc_challenge", files.ARC_REWORDED)
    of_the_hub = read(tmp_path, "arc_challenge", files.ARC)
    assert reworded == of_the_hub[0] and reworded.answer == "the Sun"
    (easy,) = read(tmp_path, "arc_easy", files.ARC_REWORDED)
    assert easy.prompt == "What do plants need to make food?" and easy.answer == "sunlight"
    assert read(tmp_path, "commonsense_qa", files.COMMONSENSE) == read(
        tmp_path, "commonsense_qa", files.COMMONSENSE_OF_ITS_AUTHORS
    )


def test_mmlu_knows_its_subjects_and_both_ways_to_name_an_answer(tmp_path: Path) -> None:
    by_number = read(tmp_path, "mmlu", files.MMLU)
    by_letter = read(tmp_path, "mmlu", [{**row, "answer": "ABCD"[row["answer"]]} for row in files.MMLU])
    assert by_number == by_letter
    assert [one.task for one in by_number] == ["mmlu_anatomy", "mmlu_astronomy"]
    assert by_number[1].answer == "Mercury"


def test_a_question_that_is_there_twice_is_two_questions(tmp_path: Path) -> None:
    twice = read(tmp_path, "gsm8k", [*files.GSM8K, files.GSM8K[0]])
    assert len({one.question_id for one in twice}) == 5
    assert twice[0].question_id == read(tmp_path, "gsm8k", files.GSM8K)[0].question_id


def test_questions_are_chosen_whatever_their_order(tmp_path: Path) -> None:
    found = read(tmp_path, "gsm8k", files.GSM8K)
    chosen = chosen_by_hash(found, 2)
    assert len(chosen) == 2
    assert {one.question_id for one in chosen_by_hash(found[::-1], 2)} == {one.question_id for one in chosen}
    assert chosen_by_hash(found, 0) == found


@pytest.mark.parametrize(
    ("benchmark", "rows", "problem"),
    [
        ("gsm8k", files.MMLU, "row 1 is not a question of 'gsm8k'"),
        ("gsm8k", [{"question": "?", "answer": "no mark"}], "no '####'"),
        ("arc_challenge", [{**files.ARC[0], "answerKey": "Z"}], "'Z' is not one of its labels"),
        ("commonsense_qa", files.ARC, "its choices are not A to E"),
        ("mmlu", [{**files.MMLU[0], "answer": "E"}], "four choices"),
        ("mbpp", [files.MBPP[-1]], "no row is a question"),
        ("ifeval", [{**files.IFEVAL[0], "kwargs": []}], "one mapping in 'kwargs'"),
    ],
)
def test_rows_of_another_kind_are_refused_by_name(
    tmp_path: Path, benchmark: str, rows: Any, problem: str
) -> None:
    with pytest.raises(SultanaError, match="rows.jsonl.gz") as refused:
        read(tmp_path, benchmark, rows)
    assert problem in str(refused.value)


def test_bad_settings_fail_before_any_work(tmp_path: Path) -> None:
    humaneval = files.written(tmp_path, "humaneval", files.HUMANEVAL)
    gsm8k = files.written(tmp_path, "gsm8k", files.GSM8K)

    def refused(*specs: BenchmarkSpec, problem: str) -> None:
        with pytest.raises(SultanaError) as found:
            read_benchmarks(specs, execute_generated_code=False, downloads=tmp_path)
        assert problem in str(found.value)

    refused(BenchmarkSpec("humaneval", humaneval), problem="execute_generated_code is off")
    refused(BenchmarkSpec("hellaswag", gsm8k), problem="There is no benchmark 'hellaswag'")
    refused(BenchmarkSpec("gsm8k", gsm8k), problem="asked with 5 examples, and there are 0")
    refused(BenchmarkSpec("gsm8k", gsm8k, 0), BenchmarkSpec("gsm8k", gsm8k, 0), problem="named twice")
    refused(BenchmarkSpec("gsm8k", str(tmp_path / "none.jsonl"), 0), problem="does not exist")
    refused(BenchmarkSpec("gsm8k", gsm8k, 4, gsm8k), problem="is a few-shot example")
    mmlu = files.written(tmp_path, "mmlu", [{**files.MMLU[0], "subject": "alchemy"}])
    refused(BenchmarkSpec("mmlu", mmlu), problem="has no task 'mmlu_alchemy'")
    refused(
        BenchmarkSpec("ifeval", files.written(tmp_path, "ifeval", files.IFEVAL), 2),
        problem="asked without examples",
    )


REAL = {  # benchmark: its file, that of its examples, and the questions that are asked
    "mmlu": ("mmlu_test", "mmlu_dev", 14_042),
    "arc_challenge": ("arc_test", "", 1_172),
    "arc_easy": ("arc_test", "", 2_376),
    "commonsense_qa": ("commonsenseqa_dev", "", 1_221),
    "gsm8k": ("gsm8k_test", "gsm8k_train", 1_319),
    "gsm8k_cot_zeroshot": ("gsm8k_test", "", 1_319),
    "ifeval": ("ifeval", "", 541),
    "humaneval": ("humaneval", "", 164),
    "humaneval_instruct": ("humaneval", "", 164),
    "mbpp": ("mbpp", "", 500),
    "mbpp_instruct": ("mbpp", "", 500),
}


@pytest.mark.parametrize("benchmark", DEFINITIONS)
def test_real_files_hold_every_question(shared_data: Path, tmp_path: Path, benchmark: str) -> None:
    file, examples, count = REAL[benchmark]
    folder = shared_data / "benchmarks"
    spec = BenchmarkSpec(
        benchmark,
        str(folder / f"{file}.jsonl.gz"),
        few_shot_path=str(folder / f"{examples}.jsonl.gz") if examples else "",
    )
    (asked,) = read_benchmarks([spec], execute_generated_code=True, downloads=tmp_path)
    assert len(asked.questions) + len(asked.left_out) == count
    assert len({one.question_id for one in asked.questions}) == len(asked.questions)
    if benchmark != "ifeval":  # of which some need data of NLTK
        assert not asked.left_out


def test_every_benchmark_is_one_of_the_harness() -> None:
    from assets.evaluation.benchmarks.tasks import task_folder

    for name, definition in DEFINITIONS.items():
        assert (task_folder() / definition.file.format(task="mmlu_anatomy")).is_file(), name
