"""DoRA beside PEFT's own, and QLoRA where it can run."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assets.finetuning.config import CheckpointConfig, TrainingSettings
from assets.finetuning.encoding import Encoded
from assets.finetuning.fused_lora import FusedLoraLinear
from assets.finetuning.session import check_settings
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.finetuning.weights import add_adapter, load_weights
from resources.errors import SultanaError

DORA = TrainingConfig(method="dora", rank=4, learning_rate=1e-2, micro_batch=2, gradient_clip=0)
MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]


def rows_of(make_row: MakeRow) -> list[TrainingRow]:
    rows = [TrainingRow(f"r{n}", (make_row(n),)) for n in range(4)]
    return [*rows, TrainingRow("m", (make_row(5), make_row(6)), 0.3)]


def theirs(model: Any, state: dict[str, torch.Tensor]) -> Any:
    """PEFT's own DoRA, with the weights of a session."""
    from peft import LoraConfig, get_peft_model

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    wrapped = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules=names, use_dora=True))
    wrapped.get_base_model().load_state_dict(state)
    return wrapped


def test_dora_computes_what_peft_does(make_model: MakeModel, make_row: MakeRow) -> None:
    session = TrainingSession((make_model(), None), DORA, 3)
    for _ in range(3):
        session.step(rows_of(make_row))
    reference = theirs(make_model(), session.model.state_dict())
    assert not any(isinstance(one, FusedLoraLinear) for one in reference.modules())
    row = make_row(9)
    ids = torch.from_numpy(row.ids).long()[None]
    with torch.no_grad():
        assert torch.allclose(session.model(ids).logits, reference(ids).logits, rtol=1e-4, atol=1e-5)
    ours = session.gradients([TrainingRow("r", (row,))])
    reference.train()
    labels = torch.where(torch.from_numpy(row.trained), ids[0], -100)[None]
    reference(input_ids=ids, labels=labels).loss.backward()
    expected = {
        name: one.grad for name, one in reference.get_base_model().named_parameters() if one.requires_grad
    }
    assert ours.keys() == expected.keys() and any("lora_magnitude_vector" in name for name in ours)
    for name, value in expected.items():
        assert torch.allclose(ours[name], value, rtol=1e-3, atol=1e-5), name


def test_a_layer_with_a_bias_is_as_peft_s() -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(6, 5))
    config = LoraConfig(r=2, target_modules=["0"], use_dora=True, init_lora_weights=False)
    reference = get_peft_model(torch.nn.Sequential(torch.nn.Linear(6, 5)), config)
    config._register_custom_module({torch.nn.Linear: FusedLoraLinear})
    ours = get_peft_model(plain, config)
    ours.load_state_dict(reference.state_dict())
    states = torch.randn(3, 6)
    assert torch.allclose(ours(states), reference(states), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dora_starts_at_the_model_as_it_is(make_model: MakeModel, make_row: MakeRow, dtype: Any) -> None:
    lora = TrainingSession((make_model(), None), replace(DORA, method="lora", dtype=dtype), 1)
    dora = TrainingSession((make_model(), None), replace(DORA, dtype=dtype), 1)
    expected = lora.step(rows_of(make_row)).loss
    assert dora.step(rows_of(make_row)).loss == pytest.approx(expected, rel=1e-6)


def test_norms_are_trained_in_bfloat16_too(make_model: MakeModel, make_row: MakeRow) -> None:
    """A factor that bfloat16 rounds to 1 still changes what the layer gives."""
    session = TrainingSession((make_model(), None), replace(DORA, dtype="bfloat16"), 1)
    layer = session.model.model.layers[0].mlp.up_proj
    states = torch.randn(64, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        before = layer(states).float()
        layer.lora_magnitude_vector["default"].weight.mul_(1.003)
        after = layer(states).float()
    assert (after.abs().sum() / before.abs().sum()).item() == pytest.approx(1.003, abs=1.5e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.2], ids=["fused", "peft's own"])
def test_dora_continues_bit_for_bit_and_starts_anew(
    make_model: MakeModel, make_row: MakeRow, dropout: float
) -> None:
    config, rows = replace(DORA, dropout=dropout), rows_of(make_row)
    session = TrainingSession((make_model(), None), config, 4)
    start = session.gradients(rows)  # in evaluation mode, in which PEFT keeps norms
    for _ in range(2):
        session.step(rows)
    state = session.state_dict()
    expected = [session.step(rows).loss for _ in range(2)]
    other = TrainingSession((make_model(), None), config, 4)
    other.load_state_dict(state)
    kept = other.gradients(rows)
    assert [other.step(rows).loss for _ in range(2)] == expected
    session.load_state_dict(state)
    assert all(torch.equal(value, kept[name]) for name, value in session.gradients(rows).items())
    session.reset()
    again = session.gradients(rows)
    assert all(torch.equal(value, again[name]) for name, value in start.items())


def test_saved_dora_is_read_by_peft_and_scores_the_same(
    make_model: MakeModel, make_row: MakeRow, tmp_path: Path
) -> None:
    from peft import PeftModel

    session = TrainingSession((make_model(), None), DORA, 1, fingerprint="f" * 64)
    session.step(rows_of(make_row))
    session.save_weights(tmp_path / "weights")
    names = load_file(tmp_path / "weights/adapter_model.safetensors").keys()
    assert any("lora_magnitude_vector" in name for name in names)
    ids = torch.from_numpy(make_row(3).ids).long()[None]
    loaded, _ = load_weights((make_model(), None), tmp_path / "weights")
    alone = PeftModel.from_pretrained(make_model(), str(tmp_path / "weights"))
    with torch.no_grad():
        expected = session.model(ids).logits
        assert torch.equal(loaded(ids).logits, expected)
        assert torch.allclose(alone(ids).logits, expected, rtol=1e-4, atol=1e-5)
        merged = alone.merge_and_unload()
        assert torch.allclose(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_gradients_of_rows_are_of_plain_lora_only(make_model: MakeModel, make_row: MakeRow) -> None:
    session = TrainingSession((make_model(), None), DORA, 1)
    with pytest.raises(SultanaError, match="not only plain LoRA adapters"):
        next(session.row_gradients(rows_of(make_row)))


def test_qlora_is_refused_before_any_work_where_it_cannot_run(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CheckpointConfig(training=TrainingSettings(method="qlora"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for refused in (
        lambda: check_settings(settings),
        lambda: TrainingSession((make_model(), None), replace(DORA, method="qlora"), 1),
    ):
        with pytest.raises(SultanaError, match="needs a CUDA device, and this machine has none"):
            refused()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SultanaError, match="bitsandbytes, which is not installed"):
        check_settings(settings)


def test_layers_of_four_bits_carry_adapters(make_model: MakeModel, make_row: MakeRow) -> None:
    """On the CPU, where bitsandbytes computes the same, slowly; the refusal is of the session."""
    pytest.importorskip("bitsandbytes", reason="QLoRA is the extra sultana[qlora]")
    plain, model = make_model(), make_model()
    wrapped = add_adapter(
        model,
        method="qlora",
        rank=4,
        alpha=8,
        dropout=0.0,
        target_modules="all-linear",
        layers="all",
        seed=0,
    )
    assert type(model.model.layers[0].mlp.up_proj.base_layer).__name__ == "Linear4bit"
    assert type(model.lm_head) is torch.nn.Linear
    ids = torch.from_numpy(make_row(3).ids).long()[None]
    loss = wrapped(input_ids=ids, labels=ids).loss
    loss.backward()
    trained = {name for name, one in model.named_parameters() if one.grad is not None}
    assert trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        expected = plain(input_ids=ids, labels=ids).loss
    assert loss.item() == pytest.approx(expected.item(), rel=0.2) and loss.item() != expected.item()
