"""export-config: what is printed is what TRL's own parser reads, and comes to the same arguments."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from kto_tui.cli import main
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.events import DataReady, ModelLoaded, encode_event

GIVEN = (
    *("--model", "some/model 1b", "--dataset", "owner/name:config:part", "--quantization", "nf4"),
    *("--dtype", "bfloat16", "--lora-rank", "8", "--lora-alpha", "24", "--lora-dropout", "0.05"),
    *(
        "--lora-target-modules",
        "q_proj,v_proj",
        "--max-length",
        "512",
        "--loss-type",
        "kto",
        "--beta",
        "0.25",
    ),
    *("--class-weights", "1:1.5", "--max-steps", "70", "--num-epochs", "2", "--batch-size", "6"),
    *("--gradient-accumulation-steps", "3", "--gradient-checkpointing", "off", "--learning-rate", "3e-6"),
    *("--lr-scheduler-type", "linear", "--warmup-ratio", "0.2", "--optim", "adamw_torch"),
    *("--weight-decay", "0.01", "--max-grad-norm", "0.5", "--seed", "7", "--output-dir", "it's/out"),
    *(
        "--logging-steps",
        "3",
        "--save-steps",
        "9",
        "--save-total-limit",
        "2",
        "--report-to",
        "mlflow,trackio",
    ),
    *("--wandb-project", "thumbs up", "--wandb-run-name", "n"),
)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], list[str]]:
    """The words of the command as a shell has them, and the comments before it."""
    assert main(["export-config", "--to", "trl", *arguments]) == 0
    script = capsys.readouterr().out
    shell = subprocess.run(
        ["bash", "-c", "trl() { printf '%s\\0' trl \"$@\"; }\n" + script], capture_output=True, check=True
    )
    assert shell.stderr == b""
    comments = [line for line in script.splitlines() if line.startswith("# ")]
    return shell.stdout.decode().split("\0")[:-1], comments


def parsed(words: list[str]) -> tuple[Any, Any, Any]:
    trl = pytest.importorskip("trl")
    kinds = (trl.ScriptArguments, trl.KTOConfig, trl.ModelConfig, trl.DatasetMixtureConfig)
    assert words[:2] == ["trl", "kto"]
    script, training, model, _ = trl.TrlParser(kinds).parse_args_and_config(
        [*words[2:], "--use_cpu"], fail_with_unknown_args=True
    )
    return script, training, model


def test_trl_reads_what_was_set(capsys: pytest.CaptureFixture[str]) -> None:
    words, comments = printed(capsys, *GIVEN)
    script, training, model = parsed(words)
    assert [script.dataset_name, script.dataset_config, script.dataset_train_split] == [
        *("owner/name", "config", "part")
    ]
    found = {name: getattr(model, name) for name in ("model_name_or_path", "lora_r", "lora_alpha", "dtype")}
    assert found == {
        "model_name_or_path": "some/model 1b", "lora_r": 8, "lora_alpha": 24, "dtype": "bfloat16",
    }  # fmt: skip
    assert (model.use_peft, model.load_in_4bit, model.use_bnb_nested_quant) == (True, True, True)
    assert (model.lora_target_modules, model.lora_dropout) == (["q_proj", "v_proj"], 0.05)
    expected = {
        "max_length": 512, "loss_type": "kto", "beta": 0.25, "desirable_weight": 1.0, "bf16": True,
        "undesirable_weight": 1.5, "max_steps": 70, "num_train_epochs": 2.0, "warmup_steps": 0.2,
        "per_device_train_batch_size": 6, "gradient_accumulation_steps": 3, "gradient_checkpointing": False,
        "learning_rate": 3e-6, "lr_scheduler_type": "linear", "optim": "adamw_torch_fused", "seed": 7,
        "weight_decay": 0.01, "max_grad_norm": 0.5, "output_dir": "it's/out", "logging_steps": 3,
        "save_steps": 9, "save_total_limit": 2, "report_to": ["mlflow"], "run_name": "n",
        "project": "thumbs up", "eval_strategy": "no", "disable_dropout": False,
    }  # fmt: skip
    assert {name: getattr(training, name) for name in expected} == expected
    assert len(comments) == 4
    assert "without trackio" in comments[0]
    assert "each micro-batch" in comments[1]


def test_a_run_says_what_auto_came_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, dtype and packing as the run chose them, and its own copy of the built-in base."""
    (tmp_path / "base_model").mkdir()
    config = RunConfig(model="builtin:tiny", dataset="rows.jsonl=2", warmup_ratio=1, eval_fraction=0.1)
    (tmp_path / "run.yaml").write_text(to_yaml(config))
    loaded = ModelLoaded(
        name="builtin:tiny", parameters=1, trainable_parameters=1, quantization="none", dtype="float32",
        device="cpu", source="",
    )  # fmt: skip
    ready = DataReady(desirable=3, undesirable=1, examples=4, dropped=0, truncated=0, weights=(1.0, 2.25))
    (tmp_path / "events.jsonl").write_bytes(encode_event(loaded) + encode_event(ready))
    words, comments = printed(capsys, str(tmp_path))
    script, training, model = parsed(words)
    assert model.model_name_or_path == str(tmp_path / "base_model")
    assert (model.load_in_4bit, model.dtype, model.lora_target_modules) == (False, "float32", "all-linear")
    assert (training.desirable_weight, training.undesirable_weight) == (1.0, 2.25)
    assert (training.optim, training.bf16, training.warmup_steps) == ("adamw_torch_fused", False, 0.9999)
    assert (training.eval_strategy, training.eval_steps, script.dataset_name) == ("steps", 50, "trl_data")
    assert "kto-tui check-data rows.jsonl=2 --fix trl_data/train.jsonl" in comments[0]


def test_what_is_not_known_before_a_run_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, comments = printed(capsys, "--model", "m", "--dataset", "o/n", "--batch-size", "auto")
    for word in ("dtype auto", "quantization auto", "class weights auto", "batch size auto", "optim auto"):
        assert [comment for comment in comments if word in comment]


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-config", "--to", "trl", str(tmp_path)]) == 2
    assert "holds no run whose settings can be read" in capsys.readouterr().err
    assert main(["export-config", "--to", "trl", str(tmp_path), "--seed", "1"]) == 2
    assert "RUN_DIR and --seed: give a run, or settings" in capsys.readouterr().err
