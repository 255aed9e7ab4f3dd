from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assets.evaluation.harness import exact_match, extracted_answer, generate, is_correct, normalised_answer
from assets.evaluation.loaded import held
from assets.evaluation.losses import response_losses
from assets.finetuning.encoding import ChatEncoder, Encoded
from assets.finetuning.scoring import (
    Example,
    batches_by_length,
    response_loss,
    sequence_log_probabilities,
)
from resources.language_model import LanguageModel

QUESTIONS = [
    ("capital", "What is the capital of France?", "The capital of France is Paris.", "Paris"),
    ("capital", "What is the capital of Italy?", "Rome.", "Rome"),
    ("sum", "What is 2 + 2?", "2 + 2 = 4. So the answer is 4, as you can count on the fingers.", "4"),
    ("sum", "What is 1 + 1? Answer with a number.", "2", "2"),
    ("colour", "Name the colour of a ripe banana.", "Yellow", "Yellow"),
]


@pytest.fixture(scope="module")
def pair(models_folder: Path) -> tuple[Any, Any]:
    return LanguageModel(folder=models_folder, dtype="float32").load()


@pytest.fixture(scope="module")
def examples(pair: tuple[Any, Any]) -> list[Example]:
    encoder = ChatEncoder(pair[1])
    return [
        Example(
            f"e{place}",
            task,
            encoder.encode(
                f"e{place}",
                [{"role": "user", "content": question}, {"role": "assistant", "content": response}],
                256,
            ),
            answer,
        )
        for place, (task, question, response, answer) in enumerate(QUESTIONS)
    ]


def alone(model: Any, row: Encoded) -> tuple[float, np.ndarray]:
    """log P(y|x) and the mean state of one row, by transformers' own forward."""
    ids = torch.from_numpy(row.ids).long()[None]
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    labels = torch.from_numpy(row.trained[1:])
    found = torch.log_softmax(out.logits[0, :-1].double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    return float(found[labels].sum()), out.hidden_states[-1][0].mean(0).numpy()


def test_loss_is_the_mean_over_tasks_of_token_means(pair: tuple[Any, Any], examples: list[Example]) -> None:
    report = response_loss(pair[0], examples, batch_tokens=100)
    sums = {}
    for example in examples:
        total, count = sums.get(example.task, (0.0, 0))
        sums[example.task] = (
            total - alone(pair[0], example.encoded)[0],
            count + example.encoded.trained_tokens,
        )
    expected = {task: total / count for task, (total, count) in sums.items()}
    assert report.per_task == pytest.approx(expected, rel=1e-4)
    assert report.mean == pytest.approx(np.mean(list(expected.values())), rel=1e-4)
    assert report.examples == {"capital": 2, "colour": 1, "sum": 2}
    assert report.tokens == sum(example.encoded.trained_tokens for example in examples)


def test_two_calls_give_the_same_number_and_change_nothing(
    pair: tuple[Any, Any], examples: list[Example]
) -> None:
    model = pair[0]
    torch.manual_seed(1)
    drawn = torch.random.get_rng_state()
    one = response_loss(model, examples)
    two = response_loss(model, examples)
    assert one.mean == two.mean and np.array_equal(one.per_example, two.per_example)
    assert torch.equal(torch.random.get_rng_state(), drawn) and not model.training
    backwards = response_loss(model, examples[::-1])
    assert np.allclose(backwards.per_example[::-1], one.per_example, rtol=1e-4)
    with pytest.raises(ValueError, match="no example"):
        response_loss(model, [])


def test_losses_in_parts_are_the_same_numbers(pair: tuple[Any, Any], examples: list[Example]) -> None:
    done: list[int] = []
    expected = response_loss(pair[0], examples, batch_tokens=100)
    found = response_losses(held(*pair), examples, batch_tokens=100, on_examples=done.append)
    assert np.array_equal(found.per_example, expected.per_example)
    assert (found.mean, found.per_task, found.tokens) == (expected.mean, expected.per_task, expected.tokens)
    assert len(done) > 1 and sum(done) == len(examples)
    with pytest.raises(ValueError, match="no example"):
        response_losses(held(*pair), [])


def test_log_probabilities_and_states_are_those_of_transformers(
    pair: tuple[Any, Any], examples: list[Example]
) -> None:
    rows = [example.encoded for example in examples]
    scores = sequence_log_probabilities(pair[0], rows, batch_tokens=100)
    for place, row in enumerate(rows):
        expected, state = alone(pair[0], row)
        assert scores.given_prompt[place] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert np.allclose(scores.hidden[place], state, rtol=1e-3, atol=1e-3)
        start = row.response_start - 1
        short = Encoded("s", row.ids[start:], row.trained[start:], 1)
        assert scores.alone[place] == pytest.approx(alone(pair[0], short)[0], rel=1e-3, abs=1e-3)
        assert scores.tokens[place] == row.trained_tokens
    assert scores.hidden.dtype == scores.alone.dtype == scores.given_prompt.dtype == np.float32
    assert (scores.given_prompt > scores.alone).all()  # a prompt that fits makes its response likelier


def test_batches_hold_every_row_once_and_keep_to_their_size() -> None:
    lengths = [5, 90, 30, 30, 200, 1, 7]
    found = list(batches_by_length(lengths, 100))
    assert sorted(place for batch in found for place in batch) == list(range(7))
    assert all(len(batch) == 1 or len(batch) * lengths[batch[0]] <= 100 for batch in found)


def test_exact_match_generates_until_the_end_of_turn(pair: tuple[Any, Any], examples: list[Example]) -> None:
    report = exact_match(held(*pair), examples[:4], maximum_new_tokens=24)
    by_id = {prediction.example_id: prediction for prediction in report.predictions}
    assert by_id["e0"].text == "The capital of France is Paris."
    assert list(by_id) == ["e0", "e1", "e2", "e3"]
    assert report.examples == {"capital": 2, "sum": 2}
    assert report.mean == pytest.approx(np.mean(list(report.per_task.values())))
    prompts = [example.encoded.prompt_ids.tolist() for example in examples[:4]]
    one_by_one = [generate(held(*pair), [prompt], maximum_new_tokens=24)[0] for prompt in prompts]
    assert one_by_one == [by_id[f"e{place}"].text for place in range(4)]  # left padding is not seen


@pytest.mark.parametrize(
    ("text", "reference", "correct"),
    [
        ("She sells 16 - 3 - 4 = 9 eggs and makes 9 * 2 = $18 a day.\n#### 18", "18", True),
        ("The answer is 18.", "18", True),
        ("The answer is $1,800.00.", "1800", True),
        ("So the answer is 18 dollars for 2 days.", "18", True),
        ("First 5, then 7, in all 12.", "12", True),
        ("First 5, then 7, in all 12.", "5", False),
        ("no idea", "5", False),
        ("", "5", False),
        ("It is -3", "-3", True),
        ("0.50", "0.5", True),
        ("Thinking aloud.\nParis.", "paris", True),
        ("The final answer is: Paris.", "Paris", True),
        ("Answer: the Eiffel Tower", "Eiffel tower", True),
        ("The answer is (B).", "B", True),
        ("B) because it is so", "B", True),
        ("The answer is C", "B", False),
        ("Ｐａｒｉｓ", "paris", True),
    ],
)
def test_answers_are_found_and_compared(text: str, reference: str, correct: bool) -> None:
    assert is_correct(text, reference) is correct, extracted_answer(text, reference)


def test_numbers_have_one_form() -> None:
    same = ["1800", "1,800", "$1,800", "1800.00", " 1,800. "]
    assert {normalised_answer(text) for text in same} == {"1800"}
    assert normalised_answer("1.50%") == "1.5" and normalised_answer("-0.0") == "0"
