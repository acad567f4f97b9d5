"""The command line: every setting an option, the same for a run and for its plan."""

from typing import Any

import pytest

from kto_tui.cli import main
from kto_tui.cli.parser import build_parser, parse
from kto_tui.core.config import GROUPS, settings
from kto_tui.core.resolve import resolve

OPTIONS = [
    "model_size", "model", "model_revision", "quantization", "dtype",
    "lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules",
    "dataset", "prompt_column", "completion_column", "label_column", "desirable_at_least",
    "chat_template", "eval_dataset", "eval_fraction", "max_length",
    "loss_type", "beta", "class_weights", "kl_scope", "reference_cache",
    "max_steps", "num_epochs", "early_stopping_patience", "batch_size", "gradient_accumulation_steps",
    "gradient_checkpointing",
    "learning_rate", "lr_scheduler_type", "warmup_ratio", "optim", "weight_decay", "max_grad_norm", "seed",
    "output_dir", "overwrite", "resume_from_checkpoint", "allow_changed_settings", "logging_steps",
    "save_steps", "save_total_limit", "keep_requested", "eval_steps",
    "auto_restart", "grace_seconds",
    "report_to", "wandb", "wandb_project", "wandb_run_name",
]  # fmt: skip


def test_help_lists_every_setting_under_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for setting in settings().values():
        assert setting.flag in text
    for group in GROUPS:
        assert f"\n{group}:" in text
    for command in ("attach", "runs", "plan", "check-data", "export", "export-config", "chat"):
        assert f"\n    {command} " in text
    assert "supervise" not in text


def test_the_options_are_these() -> None:
    """Frozen: an option that goes or changes its name breaks somebody's script."""
    assert list(settings()) == OPTIONS


def test_only_what_was_given_is_passed_on() -> None:
    assert parse(["--model-size", "7b", "--no-ui"]) == {"command": "run", "no_ui": True, "model_size": "7b"}
    assert parse(["plan", "--save-steps", "5"]) == {"command": "plan", "no_ui": False, "save_steps": "5"}
    assert parse(["--no-wandb"])["wandb"] is False


def test_what_is_asked_of_faults() -> None:
    asked = ["--keep-requested", "no", "--auto-restart", "3", "--grace-seconds", "30"]
    config = resolve({"model_size": "tiny", **options_of(asked)})
    assert (config.keep_requested, config.auto_restart, config.grace_seconds) == ("no", 3, 30.0)
    assert not config.allow_changed_settings
    assert resolve({"model_size": "tiny", **options_of(["--allow-changed-settings"])}).allow_changed_settings


def options_of(arguments: list[str]) -> dict[str, Any]:
    return {k: v for k, v in parse(arguments).items() if k not in ("command", "no_ui")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_options(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for setting in settings().values():
        assert setting.flag.lstrip("-") in script
    assert "attach" in script


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    body, examples = build_parser().format_help().split("examples:")
    assert max(map(len, body.splitlines())) <= 80
    assert max(map(len, examples.splitlines())) <= 110
