"""Mixing on the architectures of transformers: tiny models of random weights against the long way."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mixing_reference as reference
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from assets.finetuning.encoding import Encoded
from assets.finetuning.scoring import Example, response_loss
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.interpolation.alignment import ALIGNMENTS
from resources.errors import SultanaError

MakeRow = Callable[..., Encoded]
FULL = TrainingConfig(method="full", learning_rate=1e-3, micro_batch=4, gradient_clip=0)
LORA = replace(FULL, method="lora", rank=4, learning_rate=1e-2)

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "attn_implementation": "sdpa",
}
GPT2 = {
    "vocab_size": 61,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 128,
    "initializer_range": 0.2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "attn_implementation": "sdpa",
}
OLDER = {name: value for name, value in SMALL.items() if name not in ("num_key_value_heads", "head_dim")}
NOT_GROUPED = {"num_key_value_heads": 4}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-tied": ("llama.Llama", {**SMALL, "tie_word_embeddings": True}),
    "llama-untied": ("llama.Llama", {**SMALL, "tie_word_embeddings": False}),
    "qwen2": ("qwen2.Qwen2", {**SMALL, "tie_word_embeddings": True}),
    "qwen3": ("qwen3.Qwen3", {**SMALL, "tie_word_embeddings": True}),
    "gemma": ("gemma.Gemma", {**SMALL, "tie_word_embeddings": True}),  # embeddings scaled by √h
    "gemma2": (
        "gemma2.Gemma2",
        {  # no attention but eager
            **SMALL,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 3.0,  # real ones have 30, and larger logits
            "sliding_window": 6,
            "attn_implementation": "eager",
        },
    ),
    "gemma3": (
        "gemma3.Gemma3",
        {**SMALL, "query_pre_attn_scalar": 8, "sliding_window": 6, "sliding_window_pattern": 2},
    ),
    "mistral": ("mistral.Mistral", {**SMALL, "sliding_window": 6}),
    "mixtral": ("mixtral.Mixtral", {**SMALL, "num_local_experts": 4}),
    "granite": (
        "granite.Granite",
        {**SMALL, "logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.2},
    ),
    "cohere": ("cohere.Cohere", {**SMALL, "logit_scale": 0.25}),
    "phi3": ("phi3.Phi3", {**SMALL, **NOT_GROUPED}),
    "phi": ("phi.Phi", {**SMALL, **NOT_GROUPED, "tie_word_embeddings": False}),
    "gpt2": ("gpt2.GPT2", GPT2),  # learned positions, Conv1D
    "gpt_neox": ("gpt_neox.GPTNeoX", OLDER),
    "falcon": ("falcon.Falcon", {**OLDER, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "opt": (
        "opt.OPT",
        {
            "vocab_size": 61,
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "word_embed_proj_dim": 16,
            "init_std": 0.2,
            "dropout": 0.0,
            "attn_implementation": "sdpa",
        },
    ),
}
WITHOUT_PACKING = {"opt", "falcon"}  # make their masks without looking at positions


def tiny(family: str) -> Any:
    """A float32 model of a family, of random weights that depend on nothing else."""
    path, settings = FAMILIES[family]
    module, name = path.split(".")
    config_module = importlib.import_module(f"transformers.models.{module}.configuration_{module}")
    model_module = importlib.import_module(f"transformers.models.{module}.modeling_{module}")
    config_class = getattr(config_module, f"{name}TextConfig", None) or getattr(
        config_module, f"{name}Config"
    )
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(model_module, f"{name}{head}")(config_class(**settings)).eval()


def trained_gradients(session: TrainingSession, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    found = {name: one.grad for name, one in session.model.named_parameters() if one.grad is not None}
    session.model.zero_grad(set_to_none=True)
    return found


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    largest = max(float(value.abs().max()) for value in two.values())
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5 * largest), name


@pytest.mark.parametrize("method", ["full", "lora", "full-checkpointed", "lora-checkpointed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_loss_is_that_of_the_whole_model(make_row: MakeRow, family: str, method: str) -> None:
    """Originals and mixes in one batch, after a step, so that adapters are not nothing."""
    config = replace(FULL if method.startswith("full") else LORA, gradient_checkpointing="check" in method)
    originals = [make_row(1), make_row(2)]
    mixes = [
        (make_row(3, 4, 7), make_row(4, 9, 3), 0.3, "response_border"),
        (make_row(5, 3, 3), make_row(6, 5, 8), 0.6, "start_scaled"),
    ]
    rows = [TrainingRow(row.row_id, (row,)) for row in originals]
    rows += [TrainingRow("m", (a, b), lam, alignment=alignment) for a, b, lam, alignment in mixes]
    session = TrainingSession((tiny(family), None), config, 2)
    session.step(rows)
    expected = reference.batch_loss(session.model, originals, mixes)
    gradients = trained_gradients(session, expected)
    session.model.train()
    assert_close(session.gradients(rows), gradients)
    assert session.step(rows).loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("lam", [0.2, 0.5, 0.9])
def test_every_alignment_is_the_explicit_soft_label_loss(
    make_row: MakeRow, alignment: str, lam: float
) -> None:
    for a, b in [((2, 9), (7, 3)), ((5, 5), (5, 5)), ((1, 1), (4, 6)), ((6, 2), (3, 8))]:
        pair = make_row(11, *a), make_row(12, *b)
        session = TrainingSession((tiny("llama-tied"), None), FULL, 1)
        expected = reference.batch_loss(session.model, [], [(*pair, lam, alignment)])
        gradients = trained_gradients(session, expected)
        row = TrainingRow("m", pair, lam, alignment=alignment)
        assert_close(session.gradients([row]), gradients)
        assert session.step([row]).loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_as_if_alone(make_row: MakeRow, family: str) -> None:
    rows = [TrainingRow(f"r{n}", (make_row(n, 3, 2 + n),)) for n in range(4)]
    rows += [TrainingRow("m", (make_row(8, 3, 4), make_row(9, 5, 2)), 0.4)]
    rows += [TrainingRow("n", (make_row(6, 7, 2), make_row(7, 2, 11)), 0.4)]
    packing = replace(FULL, packing=True)
    session = TrainingSession((tiny(family), None), packing, 1)
    if family in WITHOUT_PACKING:
        with pytest.raises(SultanaError, match="does not keep rows that share a line apart"):
            session.step(rows)
        return
    alone = TrainingSession((tiny(family), None), replace(FULL, micro_batch=1), 1)
    assert_close(session.gradients(rows), alone.gradients(rows))
    assert session.step(rows).loss == pytest.approx(alone.step(rows).loss, rel=1e-5)


def test_what_a_model_does_to_its_logits_is_known_or_refused(make_row: MakeRow) -> None:
    """Held-out losses too are those of the whole model; logits that are treated otherwise are refused."""
    row = make_row(3)
    for family in ("gemma2", "granite", "cohere"):
        model = tiny(family)
        found = response_loss(model, [Example("e", "task", row)]).mean
        ids = torch.from_numpy(row.ids).long()[None]
        labels = torch.where(torch.from_numpy(row.trained), ids[0], -100)[None]
        with torch.no_grad():
            assert found == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), rel=1e-5)
        model.config.logit_scale = 0.125 if family != "cohere" else None  # not what its forward does
        with pytest.raises(SultanaError, match="changes its logits after the output head"):
            TrainingSession((model, None), FULL, 1)


def test_a_model_that_takes_no_adapters_is_refused_by_name() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, state_size=4)
        model = MambaForCausalLM(config).eval()
    with pytest.raises(SultanaError, match="PEFT puts no adapters into MambaForCausalLM"):
        TrainingSession((model, None), LORA, 1)


def with_layer_tables(version: str) -> Any:
    """Gemma 3n and Gemma 4 look every id up in a second table, for each layer."""
    name = f"Gemma{version}"
    module = importlib.import_module(f"transformers.models.{name.lower()}.modeling_{name.lower()}")
    more = {
        "3n": {"laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 3, "final_logit_softcapping": 1e6},
        "4": {"final_logit_softcapping": None, "global_head_dim": 8},
    }[version]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(module, f"{name}TextConfig")(
            **SMALL,
            vocab_size_per_layer_input=61,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            layer_types=["full_attention"] * 3,
            **more,
        )
        model = getattr(module, f"{name}ForCausalLM")(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return model


@pytest.mark.parametrize("version", ["3n", "4"])
def test_a_model_that_needs_ids_is_refused_by_name(make_row: MakeRow, version: str) -> None:
    session = TrainingSession((with_layer_tables(version), None), FULL, 1)
    refusal = f"Gemma{version}ForCausalLM does not take inputs_embeds as it takes ids"
    plain = [TrainingRow("r", (make_row(1),))]
    mixed = [*plain, TrainingRow("m", (make_row(2), make_row(3)), 0.4)]
    session.check(plain)
    with pytest.raises(SultanaError, match=refusal):
        session.check(mixed)
    with pytest.raises(SultanaError, match=refusal):
        session.step(mixed)
    assert session.step(plain).loss > 0  # originals can be trained on
    with pytest.raises(SultanaError, match="cannot be mixed at layer 1|gets states of shape"):
        session.check([TrainingRow("m", (make_row(2), make_row(3)), 0.4, layer=1)])


def test_a_mixed_row_longer_than_the_positions_is_refused(make_row: MakeRow) -> None:
    session = TrainingSession((tiny("gpt2"), None), FULL, 1)
    a, b = make_row(1, 100, 20), make_row(2, 20, 100)
    with pytest.raises(SultanaError, match="has 200 tokens"):
        session.check([TrainingRow("m", (a, b), 0.5)])
    with pytest.raises(SultanaError, match="has 200 tokens, but GPT2LMHeadModel has 128 positions"):
        session.step([TrainingRow("m", (a, b), 0.5)])
    assert session.step([TrainingRow("m", (a, b), 0.5, alignment="start")]).tokens == 120
