"""Log-likelihoods with shared prompts are those of each sequence alone, and of the harness's hf backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from assets.evaluation.benchmarks import likelihood
from assets.evaluation.benchmarks.likelihood import can_be_taken_apart, log_likelihoods
from assets.evaluation.benchmarks.prefix_lines import lay_out
from assets.evaluation.loaded import held
from resources.errors import SultanaError

Pairs = list[tuple[list[int], list[int]]]

tokens = some.lists(some.integers(3, 6), min_size=1, max_size=9).map(tuple)


@settings(max_examples=200, deadline=None)
@given(some.lists(tokens, min_size=1, max_size=12), some.integers(4, 40))
def test_a_line_shows_each_token_its_own_sequence_and_no_other(
    sequences: list[tuple[int, ...]], longest: int
) -> None:
    lines, found = lay_out(sequences, line_tokens=longest)
    assert found.keys() == set(sequences)
    for sequence, (number, places) in found.items():
        line = lines[number]
        assert tuple(line.ids[place] for place in places) == sequence
        assert [line.positions[place] for place in places] == list(range(len(sequence)))
        mask = line.mask(len(line.ids) + 2)
        for depth, place in enumerate(places):
            assert set(np.flatnonzero(mask[place])) == set(places[: depth + 1].tolist())
    assert lay_out(sequences[::-1], line_tokens=longest)[1].keys() == found.keys()
    assert sum(len(line.ids) for line in lines) <= sum(map(len, set(sequences)))


def alone(model: Any, pairs: Pairs) -> list[tuple[float, bool]]:
    """Each pair by itself: what the definition says."""
    found = []
    for context, continuation in pairs:
        ids = torch.tensor([[*context, *continuation]])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0].float().log_softmax(-1)[len(context) - 1 : -1]
        wanted = torch.tensor(continuation)
        values = scores[torch.arange(len(continuation)), wanted]
        found.append((float(values.sum()), bool((scores.argmax(-1) == wanted).all())))
    return found


def some_pairs(seed: int, count: int = 12) -> Pairs:
    """Questions with choices of several lengths, two of which share their beginning."""
    generator = np.random.default_rng(seed)
    shots = generator.integers(3, 61, 20).tolist()
    pairs = []
    for number in range(count):
        asked = generator.integers(3, 61, int(generator.integers(1, 15))).tolist()
        context = [*shots, *asked] if number % 2 else asked
        start = int(generator.integers(3, 61))
        for length in (1, 1, 2, 4):
            pairs.append((context, [start, *generator.integers(3, 61, length - 1).tolist()]))
    return pairs


@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_shared_prompts_change_nothing(make_model: Callable[..., Any], batch_tokens: int) -> None:
    model, pairs = make_model(), some_pairs(0)
    assert can_be_taken_apart(model)
    done: list[int] = []
    found = log_likelihoods(
        held(model, None), pairs, maximum_length=128, batch_tokens=batch_tokens, on_pairs=done.append
    )
    expected = alone(model, pairs)
    assert [one for one, _ in found] == pytest.approx([one for one, _ in expected], abs=1e-4)
    assert [one for _, one in found] == [one for _, one in expected]
    assert sum(done) == len(pairs)


def test_what_the_model_would_say_is_told(make_model: Callable[..., Any]) -> None:
    model, context = make_model(), [5, 9, 17]
    with torch.no_grad():
        best = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    (_, first), (_, other) = log_likelihoods(
        held(model, None),
        [(context, [best]), (context, [(best + 1) % 61])],
        maximum_length=128,
        batch_tokens=64,
    )
    assert first and not other


def test_long_pairs_lose_their_first_tokens(make_model: Callable[..., Any]) -> None:
    model = make_model()
    context = np.random.default_rng(1).integers(3, 61, 40).tolist()
    (found,) = log_likelihoods(held(model, None), [(context, [7, 8])], maximum_length=10, batch_tokens=64)
    (expected,) = alone(model, [(context[-9:], [7, 8])])
    assert found[0] == pytest.approx(expected[0], abs=1e-4)
    with pytest.raises(SultanaError, match="cannot be scored"):
        log_likelihoods(held(model, None), [([], [1])], maximum_length=10, batch_tokens=64)


def test_a_model_that_caps_its_logits_is_run_whole() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            final_logit_softcapping=0.05,
            initializer_range=0.5,
            attn_implementation="eager",
        )
    ).eval()
    assert not can_be_taken_apart(model)
    pairs = some_pairs(2, count=4)
    found = log_likelihoods(held(model, None), pairs, maximum_length=128, batch_tokens=512)
    assert [one for one, _ in found] == pytest.approx([one for one, _ in alone(model, pairs)], abs=1e-4)


def test_states_are_projected_in_parts(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pairs = make_model(), some_pairs(3)
    whole = log_likelihoods(held(model, None), pairs, maximum_length=128, batch_tokens=4096)
    monkeypatch.setattr(likelihood, "PROJECTED", 5)
    parts = log_likelihoods(held(model, None), pairs, maximum_length=128, batch_tokens=4096)
    assert [one for one, _ in parts] == pytest.approx([one for one, _ in whole], abs=1e-5)


@pytest.fixture(scope="module")
def embedded(models_folder: Path) -> Any:
    from resources.language_model import LanguageModel

    return LanguageModel(folder=models_folder, dtype="float32").load()


def test_the_embedded_model_scores_as_in_the_hf_backend(embedded: Any) -> None:
    from harness_requests import choices, texts, untracked
    from lm_eval.models.huggingface import HFLM

    from assets.evaluation.benchmarks.harness_model import HarnessModel

    ours = HarnessModel(held(*embedded), templated=True, batch_tokens=1024, track=untracked)
    theirs = HFLM(pretrained=embedded[0], tokenizer=embedded[1], batch_size=4)
    one = ours.loglikelihood(choices(), disable_tqdm=True)
    other = theirs.loglikelihood(choices(), disable_tqdm=True)
    assert [value for value, _ in one] == pytest.approx([value for value, _ in other], abs=2e-3)
    assert [greedy for _, greedy in one] == [greedy for _, greedy in other]
    assert ours.generate_until(texts(ours)) == theirs.generate_until(texts(ours), disable_tqdm=True)
