"""export-config: what is printed is what TRL's own parser reads, and comes to the same arguments."""

import json
import re
import subprocess
import sys
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
    assert (training.eval_strategy, script.dataset_name) == ("no", "trl_data")
    assert "kto-tui check-data rows.jsonl=2 --fix trl_data/train.jsonl" in comments[0]
    assert "each row is there once" in comments[1]
    assert "evaluated on 0.1 of the rows: TRL takes a split of the same data set" in comments[2]
    # Never the run's own folder, whose checkpoints TRL would take for its own.
    assert training.output_dir == f"{tmp_path}_trl"
    words, _ = printed(capsys, "--model", "m", "--dataset", "a/b", "--output-dir", f"{tmp_path}/")
    assert words[words.index("--output_dir") + 1] == f"{tmp_path}_trl"


def test_a_run_that_began_with_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TRL's command is of its base, at the commit that the run has noted; experts are named apart."""
    config = RunConfig(
        model="/gone/adapter", dataset="a/b", lora_target_modules="q_proj,mlp.experts.down_proj"
    )
    (tmp_path / "run.yaml").write_text(to_yaml(config))
    kept = tmp_path / "reference_adapter"
    kept.mkdir()
    (kept / "adapter_model.safetensors").touch()
    marker = {"model": "/gone/adapter", "base": "owner/base", "revision": "0123abc"}
    (kept / "kto_tui_source.json").write_text(json.dumps(marker))
    words, comments = printed(capsys, str(tmp_path))
    _, _, model = parsed(words)
    assert (model.model_name_or_path, model.model_revision) == ("owner/base", "0123abc")
    assert (model.lora_target_modules, model.lora_target_parameters) == (
        r".*\.q_proj",
        ["mlp.experts.down_proj"],
    )
    assert (
        "--model /gone/adapter is an adapter that is trained on; TRL's command begins a new one"
        in comments[0]
    )


def rated(path: Path, first: str) -> None:
    rows = [{"asked": f"{first} {n}", "said": f"That is {n}.", "stars": n % 5 + 1} for n in range(8)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_line_that_prepares_the_rows_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell has it, with a file of a name that needs quotes and looks like a hub id."""
    monkeypatch.chdir(tmp_path)
    rated(tmp_path / "my data" / "it's rated.jsonl", "What is")
    rated(tmp_path / "held.jsonl", "And what is")
    words, comments = printed(
        capsys, "--model", "m", "--dataset", "my data/it's rated.jsonl", "--eval-dataset", "held.jsonl",
        "--prompt-column", "asked", "--completion-column", "said", "--label-column", "stars",
        "--desirable-at-least", "4",
    )  # fmt: skip
    (line,) = [comment.split(" with: ")[1] for comment in comments if "check-data" in comment]
    shell = f"kto-tui() {{ '{sys.executable}' -m kto_tui \"$@\"; }}\n{line}"
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, check=True, capture_output=True)
    for split, first in (("train", "What is 3"), ("test", "And what is 3")):
        rows = [json.loads(text) for text in (tmp_path / "trl_data" / f"{split}.jsonl").open()]
        assert rows[3] == {"prompt": first, "completion": "That is 3.", "label": True}
        assert [row["label"] for row in rows[:4]] == [False, False, False, True]
    script, training, _ = parsed(words)
    assert (script.dataset_name, script.dataset_test_split) == ("trl_data", "test")
    assert training.eval_strategy == "steps"


def test_a_file_is_no_data_set_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "here").mkdir(parents=True)
    for name in ("owner/here", "owner/gone.jsonl", "owner/gone.csv.gz"):
        words, _ = printed(capsys, "--model", "m", "--dataset", name)
        assert words[words.index("--dataset_name") + 1] == "trl_data"


def test_a_split_of_the_same_data_set_is_evaluated_on(capsys: pytest.CaptureFixture[str]) -> None:
    words, _ = printed(capsys, "--model", "m", "--dataset", "a/b", "--eval-dataset", "a/b::validation")
    script, training, _ = parsed(words)
    assert (script.dataset_name, script.dataset_test_split) == ("a/b", "validation")
    assert (training.eval_strategy, training.eval_steps) == ("steps", 50)
    words, comments = printed(capsys, "--model", "m", "--dataset", "a/b", "--eval-dataset", "a/c")
    assert "--eval_strategy" not in words
    assert [comment for comment in comments if "evaluated on a/c: TRL takes a split" in comment]


def test_one_target_layer_is_found_by_peft(capsys: pytest.CaptureFixture[str]) -> None:
    """TRL hands a list of one over as text, which PEFT takes for a pattern of the whole path."""
    words, _ = printed(capsys, "--model", "m", "--dataset", "a/b", "--lora-target-modules", "q_proj")
    _, _, model = parsed(words)
    assert re.fullmatch(model.lora_target_modules, "model.layers.0.self_attn.q_proj")
    assert not re.fullmatch(model.lora_target_modules, "model.layers.0.self_attn.eq_proj")


def test_what_is_not_known_before_a_run_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, comments = printed(capsys, "--model", "m", "--dataset", "o/n", "--batch-size", "auto")
    for word in ("dtype auto", "quantization auto", "class weights auto", "batch size auto", "optim auto"):
        assert [comment for comment in comments if word in comment]


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-config", "--to", "trl", str(tmp_path)]) == 2
    assert "holds no run whose settings can be read" in capsys.readouterr().err
    assert main(["export-config", "--to", "trl", str(tmp_path), "--seed", "1"]) == 2
    assert "RUN_DIR and --seed: give a run, or settings" in capsys.readouterr().err
