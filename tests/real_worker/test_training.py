"""That what is trained is TRL's KTO, with float32 adapters whatever the base is stored in."""

import json
import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from trl import KTOTrainer

from kto_tui.core.events import (
    AlertRaised,
    CheckpointFailed,
    CheckpointSaved,
    DataReady,
    ModelLoaded,
    RunEnded,
    StepLogged,
)
from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.dataset import prepare
from kto_tui.training.reading import read_rows
from kto_tui.training.tiny import build_model, build_tokenizer
from tests.real_worker.harness import at_step, both, sit, tiny, write_rows

PARAMETERS = build_model(build_tokenizer()).num_parameters()


def test_rows_are_tokenized_as_trl_does_it(tmp_path: Path) -> None:
    """Texts and conversations, their boundary and their end token."""
    tokenizer, config = build_tokenizer(), tiny(tmp_path, max_steps=1)
    rows = [*read_rows(config, str(config.dataset)).rows, *read_rows(config, str(write_chats(tmp_path))).rows]
    prepared = prepare(rows, tokenizer, config, lambda *_: None)
    for kind in (str, list):
        chosen = [number for number, row in enumerate(rows) if isinstance(row.prompt, kind)]
        table = Dataset.from_list(
            [
                {"prompt": row.prompt, "completion": row.completion, "label": row.label}
                for row in (rows[index] for index in chosen)
            ]
        )
        trainer = KTOTrainer(
            model=build_model(tokenizer),
            args=kto_config(config, (1.0, 1.0)),
            processing_class=tokenizer,
            train_dataset=table,
            peft_config=lora_config(config),
        )
        for index, theirs in zip(chosen, trainer.train_dataset, strict=True):
            ours = prepared.rows[index]
            for column in ("prompt_ids", "completion_ids"):
                assert list(ours[column]) == theirs[column]
            assert ours["label"] == theirs["label"]


def write_chats(folder: Path) -> Path:
    path = folder / "chats.jsonl"
    lines = [
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"Say {n}"},
                    {"role": "assistant", "content": f"{n}!"},
                ],
                "label": n % 2 == 0,
            }
        )
        for n in range(4)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


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
        sitting = sit(tiny(tmp_path, save_steps=1), both(repair, at_step(2, "pause")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert [event.step for event in failures] == [1, 2]
    assert [alert.kind for alert in sitting.of(AlertRaised)] == ["checkpoint_failed", "checkpoint_failed"]
    (reply,) = sitting.replies
    assert reply[:2] == ("pause", "rejected")
    assert "could not be written" in reply[2]
    assert [event.step for event in sitting.of(CheckpointSaved)] == [3, 4]
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
    sitting = sit(tiny(tmp_path / "b", dataset=str(write_chats(tmp_path)), model=str(base)))
    (ended,) = sitting.of(RunEnded)
    assert ended.exit_code == 2
    assert ended.error is not None
    assert "chats.jsonl, row" in ended.error
    assert "chat template" in ended.error


def test_a_last_row_that_would_be_alone_joins_others(tmp_path: Path) -> None:
    """TRL would pair it with itself."""
    write_rows(tmp_path / "rows.jsonl", 9)
    sitting = sit(tiny(tmp_path, max_steps=None, num_epochs=1))
    (data,) = sitting.of(DataReady)
    assert (data.examples, data.dropped) == (9, 0)
    assert sitting.of(StepLogged)[-1].total_steps == 3


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
