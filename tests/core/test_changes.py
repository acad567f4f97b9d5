"""Settings that are others than a checkpoint's: which those are, and which of them change the result."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kto_tui.core import config as declared
from kto_tui.core.changes import Change, changed_settings, describe_changes
from kto_tui.core.config import RunConfig, settings, to_yaml
from kto_tui.core.errors import UserError
from kto_tui.core.resolve import resolve


def saved(folder: Path, config: RunConfig) -> Path:
    checkpoint = folder / "run" / "checkpoint-5"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "run.yaml").write_text(to_yaml(config))
    return checkpoint


def tiny(**changes: Any) -> RunConfig:
    return resolve({"model_size": "tiny", **changes})


def changed(folder: Path, before: RunConfig, now: RunConfig) -> dict[str, bool]:
    """The names of what changed, and whether that is harmless."""
    return {change.name: change.harmless for change in changed_settings(saved(folder, before), now)}


def test_every_setting_is_decided_once() -> None:
    """A new setting: does the trained model depend on it? Say so beside START_ONLY."""
    sets = (
        declared.START_ONLY,
        declared.HARMLESS,
        declared.HARMLESS_WITHOUT_EARLY_STOPPING,
        declared.DECISIVE,
    )
    assert sorted(name for names in sets for name in names) == sorted(settings())


OTHER: dict[str, Any] = {
    "model_size": "other", "model": "other/model", "quantization": "nf4", "dtype": "bfloat16",
    "reference_cache": "off", "dataset": "other.jsonl", "eval_dataset": "held.jsonl", "loss_type":
    "apo_zero_unpaired", "class_weights": "1:2", "kl_scope": "micro_batch", "gradient_checkpointing": "on",
    "lr_scheduler_type": "linear", "optim": "adamw_torch", "keep_requested": "no", "eval_fraction": 0.5,
    "eval_steps": 3, "max_steps": 7, "early_stopping_patience": 2, "grace_seconds": 9.0,
}  # fmt: skip


def another(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else f"{value}-2"


@pytest.mark.parametrize("name", sorted(settings().keys() - declared.START_ONLY))
def test_each_setting_is_noticed_with_what_it_means(tmp_path: Path, name: str) -> None:
    before = tiny()
    now = msgspec.structs.replace(before, **{name: another(name, getattr(before, name))})
    found = changed_settings(saved(tmp_path, before), now)
    # Rows held out make for evaluations, which follow the saves.
    expected = [name, "eval_steps"] if name in ("eval_dataset", "eval_fraction") else [name]
    assert [change.name for change in found] == expected
    decisive = name in declared.DECISIVE
    assert found[0] == Change(name, getattr(before, name), getattr(now, name), not decisive)


def test_the_same_settings_are_no_change(tmp_path: Path) -> None:
    """Neither of what a start is asked for, nor by another way of writing the same."""
    before = tiny(learning_rate="5e-7", class_weights="1:1.5", eval_dataset="x.jsonl")
    now = msgspec.structs.replace(
        before,
        overwrite=True,
        resume_from_checkpoint="x",
        allow_changed_settings=True,
        class_weights="1.0:1.50",
    )
    assert changed(tmp_path, before, now) == {}
    assert changed(tmp_path, before, msgspec.structs.replace(now, eval_steps=None)) == {}
    checkpoint = saved(tmp_path, before)
    text = (checkpoint / "run.yaml").read_text()
    (checkpoint / "run.yaml").write_text(text.replace("learning_rate: 5.0e-07", "learning_rate: 0.0000005"))
    assert "0.0000005" in (checkpoint / "run.yaml").read_text()
    assert changed_settings(checkpoint, now) == []


def test_an_unset_value_is_its_default(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, tiny())
    (checkpoint / "run.yaml").write_text("model: builtin:tiny\nlogging-steps: 5\n")
    assert changed_settings(checkpoint, RunConfig(model="builtin:tiny")) == []


def test_a_file_is_the_same_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    before = tiny(dataset=str(tmp_path / "rows.jsonl"), model=str(tmp_path / "model"), output_dir="a")
    now = tiny(dataset="./rows.jsonl", model="~/link", output_dir=str(tmp_path / "a"))
    assert changed(tmp_path, before, now) == {}
    (tmp_path / "rows.jsonl").unlink()
    assert changed(tmp_path, before, now) == {}
    (tmp_path / "other.jsonl").write_text("")
    assert changed(tmp_path, before, tiny(dataset="other.jsonl", model="model", output_dir="a")) == {
        "dataset": False
    }


def test_rows_that_moved_are_left_to_the_worker_to_compare(tmp_path: Path) -> None:
    """As a template that did: the checkpoint has the sum of all tokens."""
    before, now = tiny(dataset="a.jsonl", chat_template="a.jinja"), tiny(dataset="b.jsonl", chat_template="b")
    names = ["dataset", "chat_template"]
    assert changed(tmp_path, before, now) == dict.fromkeys(names, False)
    (saved(tmp_path, before) / "accumulators.json").write_text('{"data": "sum"}')
    assert changed(tmp_path, before, now) == dict.fromkeys(names, True)


def test_target_layers_are_a_set(tmp_path: Path) -> None:
    before = tiny(lora_target_modules="q_proj,v_proj")
    assert changed(tmp_path, before, tiny(lora_target_modules="v_proj, q_proj,")) == {}
    assert changed(tmp_path, before, tiny(lora_target_modules="v_proj")) == {"lora_target_modules": False}


def test_a_template_s_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chatml").touch()
    named, file = tiny(chat_template="chatml"), tiny(chat_template=str(tmp_path / "chatml"))
    assert changed(tmp_path, named, file) == {"chat_template": False}


def test_an_evaluation_decides_where_it_may_end_the_run(tmp_path: Path) -> None:
    watched, patient = {"eval_dataset": "x.jsonl"}, {"eval_dataset": "x.jsonl", "early_stopping_patience": 2}
    change = {"eval_steps": 7}
    assert changed(tmp_path, tiny(**watched), tiny(**watched, **change)) == {"eval_steps": True}
    assert changed(tmp_path, tiny(**patient), tiny(**patient, **change)) == {"eval_steps": False}
    assert changed(tmp_path, tiny(**patient), tiny(**{**patient, "eval_dataset": "y.jsonl"})) == {
        "eval_dataset": False
    }
    # Saving more often with a patience changes nothing by itself, but evaluations follow it.
    more = {**patient, "save_steps": 3}
    assert changed(tmp_path, tiny(**patient), tiny(**more)) == {"save_steps": True, "eval_steps": False}
    assert changed(tmp_path, tiny(**patient), tiny(**more, eval_steps=50)) == {"save_steps": True}
    assert changed(tmp_path, tiny(**watched), tiny(**patient)) == {"early_stopping_patience": False}


def test_where_the_settings_are_found(tmp_path: Path) -> None:
    """In the checkpoint, else in its run's folder; where neither has them, nothing can be said."""
    checkpoint = saved(tmp_path, tiny(beta=0.2))
    (checkpoint.parent / "run.yaml").write_text(to_yaml(tiny(beta=0.3)))
    assert changed_settings(checkpoint, tiny()) == [Change("beta", 0.2, 0.1, False)]
    (checkpoint / "run.yaml").unlink()
    assert changed_settings(checkpoint, tiny()) == [Change("beta", 0.3, 0.1, False)]
    (checkpoint.parent / "run.yaml").unlink()
    assert changed_settings(checkpoint, tiny()) == []
    (checkpoint / "run.yaml").write_text("from_the_future: 1\n")
    with pytest.raises(UserError, match="no such setting"):
        changed_settings(checkpoint, tiny())


def test_changes_in_words() -> None:
    changes = [
        Change("beta", 0.1, 0.25, False),
        Change("max_steps", None, 20, False),
        Change("wandb", False, True, True),
        Change("batch_size", 8, 0, False),
        Change("dataset", "a.jsonl", "my rows.jsonl", False),
        Change("output_dir", "a\x1b[31m\n", "x" * 500, True),
    ]
    assert describe_changes(changes) == (
        "--beta 0.1 -> 0.25, --max-steps unset -> 20, --wandb off -> on, --batch-size 8 -> auto, "
        "--dataset a.jsonl -> 'my rows.jsonl', "
        rf"--output-dir a\x1b[31m\n -> '{'x' * 59}…"
    )
