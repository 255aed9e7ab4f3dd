"""Training by processes that accelerate starts: real ones, killed for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_models import random_row, tiny_llama, tiny_tokenizer

from assets.finetuning.config import CheckpointConfig, TrainingSettings
from assets.finetuning.loop import batches_digest
from assets.finetuning.processes import check_sharding, train_in_processes, wait_for_files
from assets.finetuning.scoring import Example
from assets.finetuning.session import check_settings
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_job import (
    WEIGHTS,
    TrainingJob,
    read_job,
    result_as_json,
    result_from_json,
    run_job,
    write_job,
)
from assets.finetuning.training_row import TrainingRow
from assets.finetuning.worker import START, find_model, write_start
from resources.errors import SultanaError
from resources.files import folder_manifest
from resources.language_model import LanguageModel

HERE = Path(__file__).parent
STEPS = 6


def job() -> TrainingJob:
    pair = random_row(90), random_row(91)
    batches = [[TrainingRow(f"r{s}-{n}", (random_row(s * 10 + n),)) for n in range(5)] for s in range(STEPS)]
    batches[1].append(TrainingRow("m", pair, 0.3, 0.5))
    batches[2].append(TrainingRow("k", pair, 0.6, layer=1, alignment="start"))
    return TrainingJob(
        config=TrainingConfig(
            rank=4, dropout=0.2, learning_rate=1e-2, micro_batch=2, target_modules=("q_proj", "v_proj")
        ),
        batches=batches,
        held_out=[Example(f"e{n}", "task", random_row(80 + n), "answer") for n in range(3)],
        rewarded=[Example(f"w{n}", "task", random_row(70 + n)) for n in range(3)],
        fingerprint="f" * 64,
        save_every=1,
        measure_every=2,
        patience=9,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_job_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    written = job()
    write_job(written, tmp_path / "job")
    found = read_job(tmp_path / "job")
    assert batches_digest(found.batches) == batches_digest(written.batches)
    assert found.config == written.config
    for name in ("held_out", "rewarded"):
        for one, other in zip(getattr(found, name), getattr(written, name), strict=True):
            assert (one.example_id, one.task, one.answer) == (other.example_id, other.task, other.answer)
            assert one.encoded.ids.tolist() == other.encoded.ids.tolist()
            assert one.encoded.trained.tolist() == other.encoded.trained.tolist()
    simple = ("fingerprint", "save_every", "measure_every", "patience", "sharding")
    assert [getattr(found, name) for name in simple] == [getattr(written, name) for name in simple]


TRAINING = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from assets.finetuning.processes import train_in_processes
from resources.language_model import LanguageModel
from test_processes import job

result = train_in_processes(
    job(), LanguageModel({model!r}, dtype="float32"), Path({folder!r}), processes=2,
    on_step=lambda metrics: print("step", metrics.step, flush=True),
)
"""


@pytest.mark.slow
def test_a_killed_group_leaves_nothing_behind_and_goes_on_to_the_same_bits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    script, killed = tmp_path / "training.py", tmp_path / "killed"
    script.write_text(TRAINING.format(here=str(HERE), model=str(model), folder=str(killed)))
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=HERE.parents[1], stdout=subprocess.PIPE
    ) as training:
        assert training.stdout is not None
        seen = [training.stdout.readline() for _ in range(3)]
        training.send_signal(signal.SIGKILL)
    assert seen == [b"step 0\n", b"step 1\n", b"step 2\n"]
    deadline = time.monotonic() + 30
    while left := processes_of(killed):
        assert time.monotonic() < deadline, f"{left} outlive the process that started them"
        time.sleep(0.1)

    steps: list[int] = []
    resumed = train_in_processes(
        job(),
        LanguageModel(str(model), dtype="float32"),
        killed,
        processes=2,
        on_step=lambda metrics: steps.append(metrics.step),
    )
    assert resumed.resumed_from is not None and 2 <= resumed.resumed_from < STEPS
    assert steps == list(range(resumed.resumed_from, STEPS))  # each is told once
    whole = train_in_processes(
        job(), LanguageModel(str(model), dtype="float32"), tmp_path / "whole", processes=2
    )
    assert whole.resumed_from is None and whole.measures == resumed.measures
    assert [one.loss for one in whole.steps] == [one.loss for one in resumed.steps]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (killed / WEIGHTS / name).read_bytes() == (tmp_path / "whole" / WEIGHTS / name).read_bytes()
    assert result_from_json(result_as_json(whole)) == whole


@pytest.mark.slow
def test_launched_processes_that_divide_the_model_train_as_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    without_dropout = replace(job(), config=replace(job().config, dropout=0.0))
    alone = run_job(without_dropout, (tiny_llama(), tiny_tokenizer()), tmp_path / "one")
    divided = train_in_processes(
        replace(without_dropout, sharding="fsdp"),
        LanguageModel(str(model), dtype="float32"),
        tmp_path / "two",
        processes=2,
    )
    for name in ("loss", "gradient_norm", "tokens"):
        found, expected = ([getattr(one, name) for one in of.steps] for of in (divided, alone))
        assert found == pytest.approx(expected, rel=1e-3), name
    assert [done for done, _ in divided.measures] == [0, 2, 4, 6]
    weights, expected_weights = (
        load_file(tmp_path / folder / WEIGHTS / "adapter_model.safetensors") for folder in ("two", "one")
    )
    assert weights.keys() == expected_weights.keys()
    for name, value in expected_weights.items():
        assert torch.allclose(weights[name], value, rtol=1e-3, atol=1e-4), name


def processes_of(folder: Path) -> list[int]:
    """The processes that train in a folder, by their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return [number for number in found if number != os.getpid()]


@pytest.mark.slow
def test_what_a_process_refuses_is_told_as_in_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refused = replace(job(), batches=[[TrainingRow("bad", (random_row(0),), weight=float("nan"))]])
    with pytest.raises(SultanaError) as alone:
        run_job(refused, (tiny_llama(), tiny_tokenizer()), tmp_path / "one")
    with pytest.raises(SultanaError) as several:
        train_in_processes(refused, LanguageModel(str(model), dtype="float32"), tmp_path / "two", processes=2)
    assert str(several.value) == str(alone.value)
    assert not processes_of(tmp_path / "two")


def test_a_worker_finds_the_same_model_or_refuses_another(model: Path, tmp_path: Path) -> None:
    given = LanguageModel(str(model), folder=tmp_path / "models", dtype="float32")
    write_start(given, tmp_path, tmp_path / "training")
    start = json.loads((tmp_path / START).read_text())
    found = find_model(start)
    assert (found.model, found.dtype, found.fingerprint()) == (str(model), "float32", given.fingerprint())
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "tokenizer_config.json").write_text('{"eos_token": "3"}')
    for folder in (other, tmp_path / "absent"):
        with pytest.raises(SultanaError) as raised:
            find_model(start | {"model": str(folder)})
        assert raised.value.code == "worker-model-differs"


def test_files_that_another_machine_wrote_are_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (tmp_path / "written").mkdir()
    (tmp_path / "written" / "model").write_text("new")
    expected = folder_manifest(tmp_path / "written")
    shown = threading.Timer(1.0, (tmp_path / "written").rename, [folder])
    shown.start()
    wait_for_files(folder, expected, seconds=30)
    (folder / "model").write_text("old")
    with pytest.raises(SultanaError, match="not those that the training has written") as raised:
        wait_for_files(folder, expected, seconds=0)
    assert raised.value.code == "training-files-differ"


def test_settings_that_cannot_be_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for sharding, processes, training, match in (
        ("fsdp", 1, TrainingSettings(), "processes is 1"),
        ("fsdp", 2, TrainingSettings(top_layers=2), "top_layers is set"),
    ):
        with pytest.raises(SultanaError, match=match):
            check_settings(CheckpointConfig(sharding=sharding, processes=processes, training=training))
    check_settings(CheckpointConfig(sharding="fsdp", processes=2))
    with pytest.raises(SultanaError, match="4 bits are not divided"):
        check_sharding(2, "fsdp", "qlora", frozen_states=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SultanaError, match="processes is 3, and this machine has 2 CUDA devices"):
        check_settings(CheckpointConfig(processes=3))
