import math
from pathlib import Path

import msgspec
import pytest
import torch

from kto_tui.core.config import RunConfig, settings
from kto_tui.core.setting import convert
from kto_tui.training.arguments import compute_dtype, kto_config, warmup_steps

EVEN = (1.0, 1.0)
CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = {"tiny", "135m", "0.5b", "1.5b", "3b", "7b", "8b", "14b", "24b"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_without_cuda_auto_is_plain(tmp_path: Path) -> None:
    config = RunConfig(output_dir=str(tmp_path), wandb=True, wandb_run_name="n")
    arguments = kto_config(config, (0, 2))
    assert compute_dtype(config) is torch.float32
    assert (arguments.bf16, arguments.fp16, arguments.use_cpu) == (False, False, True)
    assert (arguments.optim, arguments.gradient_checkpointing) == ("adamw_torch_fused", False)
    assert (arguments.desirable_weight, arguments.undesirable_weight) == (0, 2)
    assert (arguments.report_to, arguments.run_name) == ([], "n")


def test_dropout_is_only_switched_off_where_none_is_asked_for(tmp_path: Path) -> None:
    assert kto_config(RunConfig(output_dir=str(tmp_path)), EVEN).disable_dropout
    assert not kto_config(RunConfig(output_dir=str(tmp_path), lora_dropout=0.1), EVEN).disable_dropout


@pytest.mark.parametrize(("ratio", "steps"), [(0.1, 10), (0.0, 0), (1.0, 100)])
def test_the_warm_up_is_a_share_of_the_steps(tmp_path: Path, ratio: float, steps: int) -> None:
    config = RunConfig(output_dir=str(tmp_path), warmup_ratio=ratio)
    assert kto_config(config, EVEN).get_warmup_steps(100) == steps
    assert warmup_steps(msgspec.structs.replace(config, lr_scheduler_type="constant")) == 0


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_settings(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    preset = msgspec.yaml.decode(text)
    aliases = preset.pop("aliases", [])
    assert all(isinstance(alias, str) for alias in aliases)
    known = settings()
    config = msgspec.convert({k: convert(known[k], v, name) for k, v in preset.items()}, RunConfig)
    assert None not in (config.model, config.dataset, config.output_dir)
    assert config.lora_alpha == 2 * config.lora_rank
    assert config.quantization == "auto"
    if name not in ("tiny", "135m"):
        assert config.batch_size * config.gradient_accumulation_steps == 32
        assert math.isclose(config.learning_rate, 5e-7)


def test_there_are_no_other_presets() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == PRESETS
