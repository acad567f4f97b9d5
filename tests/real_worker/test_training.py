"""That what is trained is TRL's KTO, with float32 adapters whatever the base is stored in."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import KTOTrainer

from kto_tui.core.events import AlertRaised, CheckpointFailed, CheckpointSaved, ModelLoaded, RunEnded
from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.dataset import prepare, read_rows
from kto_tui.training.tiny import build_model, build_tokenizer
from kto_tui.training.trainer import LEANED_ON, SteeredTrainer
from tests.real_worker.harness import at_step, both, sit, tiny, write_rows

PARAMETERS = build_model(build_tokenizer()).num_parameters()


@pytest.mark.parametrize("name", LEANED_ON)
def test_what_is_leaned_on_is_there(name: str) -> None:
    """A release of TRL or transformers that moves one would never call ours."""
    assert callable(getattr(KTOTrainer, name, None))
    assert name in vars(SteeredTrainer)


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_weights_are_those_of_trl_itself(tmp_path: Path, loss_type: str) -> None:
    """Its own tokenizing, pairing, loss and loop, on the same rows in the same order."""
    config = tiny(tmp_path, max_steps=7, loss_type=loss_type, class_weights="1:1.25")
    ours = sit(config)
    base = ours.output / "base_model"
    rows = read_rows(config, str(config.dataset))
    from datasets import Dataset

    table = Dataset.from_list(
        [{"prompt": r.prompt, "completion": r.completion, "label": r.label} for r in rows]
    )
    trainer = KTOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=kto_config(config, (1, 1.25)),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=table,
        peft_config=lora_config(config),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "theirs"))
    theirs = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    for name, tensor in load_file(ours.output / "final_model" / "adapter_model.safetensors").items():
        assert torch.equal(tensor, theirs[name]), name
    prepared = prepare(rows, AutoTokenizer.from_pretrained(base), config, lambda *_: None).dataset
    for column in prepared.column_names:
        assert prepared[column] == trainer.train_dataset[column]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_bases_train_float32_adapters_and_resume(tmp_path: Path, quantization: str) -> None:
    settings = {"quantization": quantization, "optim": "adamw_8bit", "gradient_checkpointing": "on"}
    unbroken = sit(tiny(tmp_path / "unbroken", max_steps=3, **settings))
    first = sit(tiny(tmp_path, max_steps=3, **settings), at_step(1, "stop"))
    (model,) = first.of(ModelLoaded)
    assert model.quantization == quantization
    assert model.parameters == PARAMETERS
    checkpoint = first.output / "checkpoint-2"
    assert {t.dtype for t in load_file(checkpoint / "adapter_model.safetensors").values()} == {torch.float32}
    second = sit(tiny(tmp_path, max_steps=3, resume_from_checkpoint=str(checkpoint), **settings))
    assert second.of(RunEnded)[0].status == "completed"
    before = load_file(checkpoint / "adapter_model.safetensors")
    after = load_file(second.output / "final_model" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert second.adapter("final_model") == unbroken.adapter("final_model")
    assert sum(tensor.numel() for tensor in after.values()) == model.trainable_parameters


def test_the_final_model_loads_as_its_card_says(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path))
    card = (sitting.output / "final_model" / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.S)
    assert code is not None
    loaded: dict[str, object] = {}
    exec(code.group(1), loaded)
    model, tokenizer = loaded["model"], loaded["tokenizer"]
    assert isinstance(model, torch.nn.Module)
    wanted = load_file(sitting.output / "final_model" / "adapter_model.safetensors")
    trained = {name.replace(".default", ""): value for name, value in model.state_dict().items()}
    assert all(torch.equal(trained[name], value) for name, value in wanted.items())
    assert "<|assistant|>" in str(getattr(tokenizer, "chat_template", ""))
    assert "rewards/margins" in card


def test_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    """The operating system refuses files above 20 kB while the first two checkpoints are written."""
    resource = pytest.importorskip("resource")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures: list[CheckpointFailed] = []

    def repair(event: object, _: object) -> None:
        if isinstance(event, CheckpointFailed):
            failures.append(event)
        if len(failures) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    # The base and the data are there already, so that only checkpoints meet the limit.
    sit(tiny(tmp_path, max_steps=1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))
    try:
        sitting = sit(tiny(tmp_path, save_steps=2), both(repair, at_step(2, "pause")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert [event.step for event in failures] == [2, 3]
    assert [alert.kind for alert in sitting.of(AlertRaised)] == ["checkpoint_failed", "checkpoint_failed"]
    (reply,) = sitting.replies
    assert reply[:2] == ("pause", "rejected")
    assert "could not be written" in reply[2]
    assert [event.step for event in sitting.of(CheckpointSaved)] == [4]
    assert sitting.of(RunEnded)[0].status == "completed"
    assert not (sitting.output / ".staging").exists()


def test_what_a_killed_sitting_left_is_removed(tmp_path: Path) -> None:
    output = Path(str(tiny(tmp_path).output_dir))
    (output / ".staging" / "checkpoint-9").mkdir(parents=True)
    (output / "checkpoint-9").mkdir()
    (output / "checkpoint-9" / "optimizer.pt").write_bytes(b"torn")
    sitting = sit(tiny(tmp_path, max_steps=1))
    assert sitting.checkpoints == {"checkpoint-1"}


def test_rows_without_room_for_an_answer_are_named(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path, max_length=8))
    (ended,) = sitting.of(RunEnded)
    assert ended.exit_code == 2
    assert ended.error is not None
    assert "--max-length 8" in ended.error


def test_a_conversation_needs_a_chat_template(tmp_path: Path) -> None:
    sit(tiny(tmp_path / "a", max_steps=1))
    base = tmp_path / "a" / "out" / "base_model"
    (base / "chat_template.jinja").unlink()
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = tmp_path / "chat.jsonl"
    lines = [json.dumps({"messages": messages, "label": n % 2 == 0}) for n in range(4)]
    rows.write_text("\n".join(lines), encoding="utf-8")
    sitting = sit(tiny(tmp_path / "b", dataset=str(rows), model=str(base)))
    (ended,) = sitting.of(RunEnded)
    assert ended.exit_code == 2
    assert ended.error is not None
    assert "chat.jsonl, row" in ended.error
    assert "chat template" in ended.error


def test_a_last_row_that_would_pair_with_itself_is_dropped(tmp_path: Path) -> None:
    from kto_tui.core.events import DataReady

    write_rows(tmp_path / "rows.jsonl", 9)
    sitting = sit(tiny(tmp_path, max_steps=1))
    (data,) = sitting.of(DataReady)
    assert (data.examples, data.dropped) == (8, 1)


def test_a_tokenizer_without_special_tokens(tmp_path: Path) -> None:
    """Rows are padded all the same, and the user is told that answers have no end."""
    sit(tiny(tmp_path / "a", max_steps=1))
    base = tmp_path / "a" / "out" / "base_model"
    path = base / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in ("eos_token", "pad_token")}
    path.write_text(json.dumps(kept), encoding="utf-8")
    sitting = sit(tiny(tmp_path / "b", max_steps=1, model=str(base)))
    assert sitting.of(RunEnded)[0].error is None
    (alert,) = sitting.of(AlertRaised)
    assert (alert.kind, alert.severity) == ("no_eos_token", "warning")
