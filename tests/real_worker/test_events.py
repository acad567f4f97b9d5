"""What a run says about itself, from the first stage to the end."""

import json
from itertools import groupby
from pathlib import Path

import pytest
from safetensors.torch import load_file

from kto_tui.core.events import (
    CheckpointDeleted,
    CheckpointSaved,
    DataReady,
    Evaluated,
    ModelLoaded,
    Progress,
    RunEnded,
    StageChanged,
    StepLogged,
)
from kto_tui.training.tiny import build_model, build_tokenizer
from tests.real_worker.harness import Sitting, sit, tiny, write_rows

KEYS = {
    *("loss", "learning_rate", "grad_norm", "kl", "logps/chosen", "logps/rejected"),
    *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/auc"),
    *("entropy", "logits/chosen", "logits/rejected", "num_tokens"),
    *("samples_per_second", "tokens_per_second", "gpu_memory_bytes"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    """Seven steps with a checkpoint each two, the newest two kept, and evaluations."""
    folder = tmp_path_factory.mktemp("run")
    evaluation = write_rows(folder / "eval.jsonl", 9)
    config = tiny(
        folder, max_steps=7, save_steps=2, save_total_limit=2, eval_dataset=evaluation, eval_steps=4
    )
    return sit(config)


def stages_of(sitting: Sitting) -> dict[str, StageChanged]:
    return {event.stage: event for event in sitting.of(StageChanged)}


def test_the_stages_come_in_their_order(finished: Sitting) -> None:
    stages = [key for key, _ in groupby(event.stage for event in finished.of(StageChanged))]
    assert stages[:3] == ["loading_model", "preparing_data", "training"]
    assert stages.count("evaluating") == 2
    kinds = [type(event) for event in finished.events]
    order = [kinds.index(kind) for kind in (ModelLoaded, DataReady, StepLogged)]
    assert order == sorted(order)
    preparing = finished.events.index(stages_of(finished)["preparing_data"])
    assert kinds.index(ModelLoaded) < preparing < kinds.index(DataReady)
    assert kinds[-1] is RunEnded


def test_the_run_completes(finished: Sitting) -> None:
    (ended,) = finished.of(RunEnded)
    assert (ended.status, ended.step, ended.error, ended.exit_code) == ("completed", 7, None, 0)
    assert finished.exit_code == 0


def test_each_step_has_all_metrics(finished: Sitting) -> None:
    steps = finished.of(StepLogged)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert all(step.total_steps == 7 for step in steps)
    assert set().union(*(step.metrics for step in steps)) >= KEYS
    assert steps[-1].eta_seconds == 0
    eta = steps[0].eta_seconds
    assert eta is not None
    assert eta > 0


def test_the_first_loss_is_one_half_and_all_rewards_are_zero(finished: Sitting) -> None:
    first = finished.of(StepLogged)[0].metrics
    assert first["loss"] == pytest.approx(0.5, abs=1e-6)
    assert first["kl"] == 0
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-6)


def test_model_and_data_are_described(finished: Sitting) -> None:
    (model,) = finished.of(ModelLoaded)
    assert (model.source, model.quantization, model.dtype, model.device) == (
        "built here",
        "none",
        "float32",
        "cpu",
    )
    assert model.parameters == build_model(build_tokenizer()).num_parameters()
    trained = load_file(finished.output / "final_model" / "adapter_model.safetensors")
    assert model.trainable_parameters == sum(tensor.numel() for tensor in trained.values())
    (data,) = finished.of(DataReady)
    assert (data.desirable, data.undesirable, data.examples, data.dropped) == (11, 11, 22, 0)
    assert data.prompt_tokens["p5"] <= data.prompt_tokens["p50"] <= data.prompt_tokens["p95"]


def test_long_stages_show_how_far_they_are(finished: Sitting) -> None:
    progress = finished.of(Progress)
    ends = [(p.detail, p.total) for p in progress if p.stage == "preparing_data" and p.done == p.total]
    assert ends == [("tokenizing", 22), ("tokenizing evaluation rows", 9), ("attaching adapters", 0)]
    # 9 rows, 4 at once: blocks of 4, 3 and 2 rows, since none has a single one.
    assert any(p.stage == "evaluating" and p.done == p.total == 3 for p in progress)


def test_evaluations_come_at_their_steps_and_at_the_end(finished: Sitting) -> None:
    evaluated = finished.of(Evaluated)
    assert [event.step for event in evaluated] == [4, 7]
    assert {"loss", "rewards/margins"} <= set(evaluated[0].metrics)


def test_the_newest_checkpoints_are_kept(finished: Sitting) -> None:
    saved = [(event.step, event.reason) for event in finished.of(CheckpointSaved)]
    assert saved == [(2, "scheduled"), (4, "scheduled"), (6, "scheduled"), (7, "final")]
    assert [event.step for event in finished.of(CheckpointDeleted)] == [2, 4]
    assert finished.checkpoints == {"checkpoint-6", "checkpoint-7"}
    assert not (finished.output / ".staging").exists()


def test_a_checkpoint_holds_all_that_a_resume_needs(finished: Sitting) -> None:
    folder = finished.output / "checkpoint-7"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {
        *("adapter_model.safetensors", "adapter_config.json", "training_args.bin", "optimizer.pt"),
        *("scheduler.pt", "rng_state.pth", "trainer_state.json", "tokenizer.json"),
    } <= set(manifest["files"])
    assert (manifest["step"], manifest["reason"]) == (7, "final")
    (event,) = [event for event in finished.of(CheckpointSaved) if event.step == 7]
    assert event.bytes == sum(entry["bytes"] for entry in manifest["files"].values())
    assert Path(event.path) == folder
