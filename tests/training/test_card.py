"""The model card: what stands in it, and that no name can break it."""

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import ModelCard

from kto_tui.core.config import RunConfig
from kto_tui.core.datareport import DataReport, SourceRead
from kto_tui.training.card import (
    adapter_card,
    hub_id,
    merged_card,
    public_name,
    told_training,
    training_sections,
)
from kto_tui.training.curves import curves, sparkline

HOSTILE = "a|b `c` ``d`` [x](y) <script> \"q\" 's' # --- \n---\nlicense: evil \x1b[31m é"


def config(**changes: Any) -> RunConfig:
    settings = {"model": "org/base", "dataset": "org/ratings:default:train,/data/mine.jsonl", **changes}
    return msgspec.convert(settings, RunConfig)


def card(settings: RunConfig, adapter: str = "/runs/one/final_model", training: str = "") -> str:
    return adapter_card(settings, training, title="one", base=str(settings.model), adapter=adapter)


def front(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


def test_the_hub_reads_base_data_and_tags() -> None:
    text = card(config())
    data = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert data == front(text)
    assert data["base_model"] == "org/base"
    assert data["base_model_relation"] == "adapter"
    assert data["datasets"] == ["org/ratings"]
    assert (data["library_name"], data["pipeline_tag"]) == ("peft", "text-generation")
    assert {"kto", "lora"} <= set(data["tags"])
    assert "license" not in data


def test_a_merged_model_is_one_of_transformers() -> None:
    text = merged_card(config(), "", title="one", folder="/m", dtype="bfloat16")
    assert (front(text)["library_name"], front(text)["base_model_relation"]) == ("transformers", "finetune")
    assert 'AutoModelForCausalLM.from_pretrained("/m")' in text


def test_the_code_loads_the_base_as_it_was() -> None:
    """Whatever is pushed to the hub later."""
    pinned = config(model_revision="0123abc")
    assert 'AutoModelForCausalLM.from_pretrained("org/base", revision="0123abc")' in card(pinned)
    text = adapter_card(pinned, "", title="one", base="/runs/one/base_model", adapter="/runs/one/final_model")
    assert 'from_pretrained("/runs/one/base_model")' in text


def test_what_lies_on_this_machine_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert hub_id("owner/name") is None
    assert [hub_id(name) for name in ("builtin:tiny", "/a/b", "./a/b", "a/b/c", "file.jsonl", None)] == [
        None
    ] * 6
    assert hub_id("owner/other::test") == "owner/other"
    text = card(config(model=str(tmp_path), dataset="builtin:sample"))
    assert not {"base_model", "datasets", "base_model_relation"} & set(front(text))
    assert public_name("/home/somebody/secret/mine.jsonl") == "mine.jsonl"


def test_no_name_breaks_the_card() -> None:
    settings = config(
        model=f"/models/{HOSTILE.replace('/', '')}", dataset=f"/x/{HOSTILE.replace('/', '')}.jsonl"
    )
    read = SourceRead(name=HOSTILE, format=HOSTILE, records=3, rows=3)
    report = DataReport(sources=(read,), desirable=2, undesirable=1, dropped={HOSTILE: 1})
    told = training_sections(settings, step=5, logs=[], data=report)
    path = f"/runs/{HOSTILE}/final_model"
    text = adapter_card(settings, told, title=HOSTILE, base=str(settings.model), adapter=path)
    assert set(front(text)) == {"library_name", "pipeline_tag", "tags"}
    assert "\x1b" not in text
    assert "<script>" not in re.sub(r"`+[^`].*?`+", "", text.partition("```python")[0])
    code = re.search(r"```python\n(.*?)\n```\n", text, re.S)
    assert code is not None
    named = [line for line in code.group(1).splitlines() if "PeftModel.from_pretrained" in line]
    assert eval(named[0].partition("(base, ")[2].removesuffix(")")) == path
    tables = [line for line in text.splitlines() if line.startswith("|") and HOSTILE[:1] in line]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "script" in line}
    assert bars == {6, 3}


def test_data_settings_and_counts_are_told() -> None:
    report = DataReport(
        sources=(SourceRead(name="org/ratings", format="TRL unpaired", records=10, rows=9, weight=2),),
        desirable=12,
        undesirable=6,
        weights=(1.0, 2.0),
        dropped={"empty answer": 1, "too long": 0},
        prompt_tokens={"p50": 11.0},
    )
    told = training_sections(config(beta=0.25), step=7, logs=[], data=report)
    assert "for 7 steps on 18 rated rows" in told
    assert "| `org/ratings` | TRL unpaired | 10 | 9 | 2 times |" in told
    assert "| dropped: empty answer | 1 |" in told
    assert "too long" not in told
    assert "| `beta` | 0.25 |" in told
    assert "| transformers | 5." in told
    assert "## Curves" not in told


def test_what_was_used_stands_in_the_place_of_auto() -> None:
    used = {"quantization": "nf4", "dtype": "bfloat16", "revision of the base": None}
    told = training_sections(config(), step=7, logs=[], used=used)
    assert "| `quantization` | nf4 |" in told
    assert "| `dtype` | bfloat16 |" in told
    assert "| `optim` | auto |" in told
    assert "revision" not in told
    assert "| `revision of the base` | 0123 |" in training_sections(
        config(), step=7, logs=[], used={"revision of the base": "0123"}
    )


def test_a_card_of_ours_gives_back_what_it_told() -> None:
    told = training_sections(config(), step=7, logs=[{"loss": 0.5, "step": 1}])
    text = card(config(), training=told)
    assert told_training(text) == told.strip()
    assert told_training("# Model Card for Model ID") is None


def test_curves_hold_first_and_last_and_stay_small() -> None:
    logs = [{"step": n, "loss": 1 / n, "rewards/margins": float(n), "kl": math.nan} for n in range(1, 501)]
    lines = curves([*logs, {"step": 500, "eval_loss": 0.25}])
    text = "\n".join(lines)
    assert "| loss | █" in text
    assert "| 1 | 0.002 | 1 | 0.002 |" in text
    assert "| loss of the evaluation | ▁ | 0.25 |" in text
    assert "KL" not in text
    steps = [int(line.split("|")[1]) for line in lines if re.match(r"\| \d+ \|", line)]
    assert (steps[0], steps[-1], len(steps)) == (1, 500, 12)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0, 1.0], "▁▁"),
        ([0.0, math.nan, 7.0], "▁·█"),
        ([math.inf, -math.inf], "··"),
        ([-1e308, 1e308], "▁▁"),
    ],
)
def test_sparklines_take_any_figures(values: list[float], line: str) -> None:
    assert sparkline(values) == line
    assert len(sparkline([*values, *range(1000)])) == 40
