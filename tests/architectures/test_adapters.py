"""A model that holds an adapter already: it is trained on, and the reference is what it was."""

import errno
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kto_tui.cli.planning import shape_of
from kto_tui.cli.request import check, with_model
from kto_tui.core.errors import UserError
from kto_tui.core.events import Evaluated, ModelLoaded, RunEnded, StepLogged
from kto_tui.models.adapter import begun_with, trainable_adapter
from kto_tui.models.check import check_model
from kto_tui.run.trained import held_trained
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import estimate
from kto_tui.sizing.shape import ModelShape
from kto_tui.training.after.talk import Talker
from kto_tui.training.beginning import beginning_of, on_base, pin
from kto_tui.training.sources import locate
from tests.architectures.families import FAMILIES, save
from tests.architectures.test_families import BETA, ROWS, assert_as_plain, reloaded, train
from tests.real_worker.harness import Sitting, sit, tiny


def made(folder: Path, base: Path, scale: float = 1e-2, **settings: Any) -> Path:
    """An adapter as another program leaves it: changes of about this size, times the weights' own."""
    wanted = {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "down_proj"], **settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**wanted))
        for name, weight in tuned.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                weight.data = torch.randn_like(weight) * scale**0.5
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(str(folder))
    return folder


def train_on(folder: Path, adapter: Path, family: str = "llama", **changes: Any) -> Sitting:
    return train(folder, family, model=str(adapter), lora_rank=2, lora_alpha=3, **changes)


def rewards(sitting: Sitting, reference: Path) -> list[float]:
    """Of both evaluation rows, from plain logits: the tuned adapter against the one that it began as."""
    model, tokenizer = reloaded(sitting)
    model.load_adapter(str(reference), "began")
    found = []
    for row in ROWS:
        prompt = tokenizer(row["prompt"])["input_ids"]
        answer = tokenizer(str(row["completion"]) + tokenizer.eos_token)["input_ids"]
        of = {}
        for name in ("default", "began"):
            model.set_adapter(name)
            with torch.no_grad():
                every = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            of[name] = sum(float(every[len(prompt) + n - 1, token]) for n, token in enumerate(answer))
        found.append(BETA * (of["default"] - of["began"]))
    return found


@pytest.mark.parametrize("settings", [{}, {"use_dora": True, "use_rslora": True}], ids=["lora", "dora"])
def test_an_adapter_is_trained_on_and_is_the_reference(settings: dict[str, Any], tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base, **settings)
    check_model(str(given))
    whole = train_on(tmp_path, given)
    loaded = whole.of(ModelLoaded)[0]
    assert loaded.name == str(given)
    assert loaded.source == f"adapter of {base} (local folder)"
    first = load_file(given / "adapter_model.safetensors")
    assert loaded.trainable_parameters == sum(weight.numel() for weight in first.values())
    metrics = whole.of(StepLogged)[0].metrics
    assert (metrics["rewards/chosen"], metrics["rewards/rejected"]) == (0.0, 0.0), "they begin as one"
    said = whole.of(Evaluated)[-1].metrics
    wanted = rewards(whole, given)
    assert [said["rewards/chosen"], said["rewards/rejected"]] == pytest.approx(wanted, abs=1e-4)
    assert max(map(abs, wanted)) > 1e-2, "it has learned"
    final = load_file(whole.output / "final_model" / "adapter_model.safetensors")
    assert {name: weight.shape for name, weight in final.items()} == {
        name: weight.shape for name, weight in first.items()
    }
    assert not (whole.output / "base_model").exists()
    assert not list(whole.output.glob("*/ref"))
    # Its own change of the adapter it was given does not touch a run: it has kept what it began with.
    shutil.rmtree(given)
    checkpoint = str(whole.output / "checkpoint-2")
    resumed = tiny(tmp_path, model=str(given), resume_from_checkpoint=checkpoint)
    assert isinstance(shape_of(resumed), ModelShape)
    assert with_model(resumed) == resumed
    with pytest.raises(UserError, match="no such folder"):
        with_model(tiny(tmp_path, model=str(given)))
    again = train_on(tmp_path, given, resume_from_checkpoint=checkpoint)
    assert again.adapter("final_model") == whole.adapter("final_model")


def test_a_branch_of_a_run_takes_its_adapter_along(tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base)
    whole = train_on(tmp_path, given)
    checkpoint = str(whole.output / "checkpoint-2")
    (tmp_path / "other").mkdir()
    other = train_on(tmp_path, given, output_dir=str(tmp_path / "other"), resume_from_checkpoint=checkpoint)
    assert other.adapter("final_model") == whole.adapter("final_model")
    assert (other.output / "reference_adapter" / "adapter_config.json").is_file()


@pytest.mark.parametrize("changes", [{"dtype": "bfloat16"}, {"quantization": "nf4"}], ids=["bf16", "nf4"])
def test_small_changes_are_not_rounded_away(changes: dict[str, str], tmp_path: Path) -> None:
    """Merged into such a base they would be: policy and reference would begin at the bare base."""
    base = tmp_path / "model"
    save(base, FAMILIES["llama"]())
    given = made(tmp_path / "given", base, scale=1e-4)
    sitting = train_on(tmp_path, given, max_steps=1, eval_steps=1, learning_rate=1e-12, **changes)
    metrics = sitting.of(StepLogged)[0].metrics
    assert (metrics["rewards/chosen"], metrics["rewards/rejected"]) == (0.0, 0.0)
    kept, first = (
        load_file(x / "adapter_model.safetensors") for x in (sitting.output / "final_model", given)
    )
    for name, weight in first.items():
        torch.testing.assert_close(kept[name], weight, rtol=0, atol=1e-10)


def test_an_adapter_of_a_run_whose_base_only_that_run_has(tmp_path: Path) -> None:
    """A third run begins where the second one ended, of which the first has gone with its base."""
    first = train(tmp_path / "a", "llama", model="builtin:tiny")
    second = train(tmp_path / "b", "llama", model=str(first.output / "final_model"))
    first.output.rename(tmp_path / "elsewhere")
    assert_as_plain_from(second, tmp_path / "elsewhere" / "final_model")
    third = train(tmp_path / "c", "llama", model=str(second.output / "final_model"))
    assert_as_plain_from(third, second.output / "final_model")


def assert_as_plain_from(sitting: Sitting, reference: Path) -> None:
    said = sitting.of(Evaluated)[-1].metrics
    found = [said["rewards/chosen"], said["rewards/rejected"]]
    assert found == pytest.approx(rewards(sitting, reference), abs=1e-4)


def test_an_adapter_of_experts(tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["qwen3_moe"]())
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    given = made(tmp_path / "given", base, target_modules=["q_proj"], target_parameters=experts)
    assert_as_plain_from(train_on(tmp_path, given, "qwen3_moe"), given)


def test_what_can_only_be_merged(tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["llama"]())
    unlike: list[dict[str, Any]] = [
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"init_lora_weights": "pissa"},
    ]
    for number, settings in enumerate(unlike):
        given = made(tmp_path / f"given{number}", base, **settings)
        assert trainable_adapter(given) is None
    sitting = train(tmp_path, "llama", model=str(tmp_path / "given0"))
    assert sitting.of(ModelLoaded)[0].source == f"adapter given0 merged into {base}"
    assert_as_plain(sitting)


def test_the_memory_plan_counts_the_twin(tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base)
    sizes = {}
    for name, model in (("new", base), ("begun", given)):
        config = begun_with(
            tiny(tmp_path, model=str(model), lora_rank=2, lora_target_modules="q_proj,down_proj")
        )
        shape = shape_of(config)
        assert isinstance(shape, ModelShape)
        plan = estimate(shape, config, Lengths.at_most(64), "cpu")
        sizes[name] = (plan.total_bytes, plan.trainable)
    assert sizes["begun"][0] - sizes["new"][0] == 4 * sizes["new"][1]


def test_settings_are_those_of_the_adapter(tmp_path: Path) -> None:
    given = made(tmp_path / "given", save(tmp_path / "model", FAMILIES["llama"]()))
    config = tiny(tmp_path, model=str(given), lora_rank=16, lora_alpha=16)
    taken = begun_with(config)
    assert (taken.lora_rank, taken.lora_alpha, taken.lora_target_modules) == (2, 3, "down_proj,q_proj")
    assert begun_with(taken, {"lora_rank"}) == taken
    assert begun_with(taken, {"lora_target_modules"}) == taken
    other = tiny(tmp_path, model=str(given), lora_target_modules="q_proj")
    with pytest.raises(UserError, match=r"--lora-target-modules q_proj: .* with down_proj,q_proj, and"):
        begun_with(other, {"lora_target_modules"})
    assert begun_with(config, {"lora_target_modules"}) == taken
    with pytest.raises(UserError, match=r"--lora-alpha 16: the adapter in .* was made with 3, and"):
        begun_with(config, {"lora_alpha"})
    with pytest.raises(
        UserError, match=r"--lora-rank 16: the adapter in .* was made with 2, and is trained on"
    ):
        begun_with(config, {"lora_rank"})
    settings = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": r".*\.q_proj"}))
    assert begun_with(config).lora_target_modules == "all-linear"
    assert begun_with(tiny(tmp_path)) == tiny(tmp_path)


def test_talking_to_what_it_was_and_what_it_became(tmp_path: Path) -> None:
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base, scale=0.2)
    sitting = train_on(tmp_path, given, learning_rate=0.3)
    final = sitting.output / "final_model"
    talker = Talker(tiny(tmp_path, model=str(given)), final, lambda *_: None, tokens=12, temperature=0)
    said = {"base": "", "tuned": ""}

    def say(who: str, text: str) -> None:
        said[who] += text

    turns = {who: [{"role": "user", "content": "What is it?"}] for who in said}
    for together in (False, True):
        said.update(base="", tuned="")
        talker.answer(turns, say, threading.Event(), together=together)
        assert said == {"base": generated(base, given), "tuned": generated(base, final)}
    assert len({said["base"], said["tuned"], generated(base)}) == 3


def generated(base: Path, adapter: Path | None = None) -> str:
    """What plain transformers and PEFT answer."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    chat = [{"role": "user", "content": "What is it?"}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
    text = tokenizer.decode(answer[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert isinstance(text, str)
    return text


def refused(**changes: Any) -> str:
    sitting = sit(tiny(**changes))
    (ended,) = sitting.of(RunEnded)
    return str(ended.error)


def test_a_run_keeps_to_the_reference_that_it_began_with(tmp_path: Path) -> None:
    """Whatever becomes of the folder that was given, and by whatever name it is given again."""
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base)
    whole = train_on(tmp_path, given)
    checkpoint = str(whole.output / "checkpoint-2")
    (tmp_path / "link").symlink_to(given)
    shutil.rmtree(given)
    made(given, base, scale=0.5, r=4)
    resumed = tiny(tmp_path, model=str(given), resume_from_checkpoint=checkpoint, lora_rank=2, lora_alpha=3)
    assert check(resumed).config.lora_rank == 2
    again = train_on(tmp_path, tmp_path / "link", resume_from_checkpoint=checkpoint)
    assert again.adapter("final_model") == whole.adapter("final_model")
    # With its own copy lost, another adapter is not taken for it.
    shutil.rmtree(whole.output / "reference_adapter")
    settings = {"lora_rank": 2, "lora_alpha": 3, "resume_from_checkpoint": checkpoint}
    said = refused(folder=tmp_path, model=str(given), **settings)
    assert "it holds another adapter than the one that the run began with" in said
    shutil.rmtree(given)
    made(given, base)
    healed = train_on(tmp_path, given, resume_from_checkpoint=checkpoint)
    assert healed.adapter("final_model") == whole.adapter("final_model")
    # Of a copy that was changed the checkpoint knows.
    made(tmp_path / "other", base, scale=0.5)
    weights = "adapter_model.safetensors"
    shutil.copyfile(tmp_path / "other" / weights, whole.output / "reference_adapter" / weights)
    assert "is not what it was trained on" in refused(folder=tmp_path, model=str(given), **settings)


def test_a_run_that_had_merged_its_adapter_goes_on_so(tmp_path: Path) -> None:
    """As older versions did: what they trained on is the merged model, whatever could be done today."""
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base)
    weights = given / "adapter_model.safetensors"
    torch.save(load_file(weights), given / "adapter_model.bin")
    weights.rename(tmp_path / "aside")
    whole = train_on(tmp_path, given)
    (tmp_path / "aside").rename(weights)
    before = (whole.output / "base_model" / "model.safetensors").read_bytes()
    Talker(tiny(tmp_path, model=str(given)), whole.output / "final_model", quiet, tokens=1, temperature=0)
    again = train_on(tmp_path, given, resume_from_checkpoint=str(whole.output / "checkpoint-2"))
    assert again.adapter("final_model") == whole.adapter("final_model")
    assert (whole.output / "base_model" / "model.safetensors").read_bytes() == before
    assert not (whole.output / "reference_adapter").exists()
    anew = tiny(tmp_path, model=str(given), overwrite=True)
    assert begun_with(anew).lora_rank == 2, "what is deleted first decides nothing"


def quiet(*_: object) -> None:
    """Nobody listens."""


def test_a_commit_that_its_adapter_names_is_of_the_hub_alone(tmp_path: Path) -> None:
    given = made(tmp_path / "given", save(tmp_path / "model", FAMILIES["llama"]()), revision="main")
    settings = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(json.dumps({**settings, "lora_alpha": 3.0}))
    sitting = train_on(tmp_path, given)
    kept = sitting.output / "reference_adapter"
    assert json.loads((kept / "kto_tui_source.json").read_text())["revision"] is None
    pin(kept, "0123abc")
    again = beginning_of(tiny(tmp_path, model=str(given)))
    assert (again.adapter, again.config.model_revision) == (kept, "0123abc")


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = made(tmp_path / "given", save(tmp_path / "model", FAMILIES["llama"]()))
    given.chmod(0o555)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = tiny(tmp_path, model=str(given))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(UserError, match="a copy of the adapter could not be written: No space left"):
            beginning_of(config)
    assert not list((tmp_path / "out").iterdir())
    kept = beginning_of(config).adapter
    assert kept is not None
    assert kept.stat().st_mode & 0o700 == 0o700, "theirs may be write-protected"


@pytest.mark.parametrize("given", ["run/../run/final_model", "link/final_model", "copy"])
def test_overwrite_spares_the_model_and_its_base(given: str, tmp_path: Path) -> None:
    run = train(tmp_path, "llama", model="builtin:tiny").output
    run.rename(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    shutil.copytree(tmp_path / "run" / "final_model", tmp_path / "copy")
    name = tmp_path / "copy" / "adapter_config.json"
    held = json.loads(name.read_text())
    name.write_text(json.dumps({**held, "base_model_name_or_path": str(tmp_path / "run" / "base_model")}))
    config = tiny(tmp_path, model=str(tmp_path / given), overwrite=True, output_dir=str(tmp_path / "link"))
    with pytest.raises(UserError, match=r"--overwrite: it would delete .*/run, where (the base of )?--model"):
        check(config)


def merged(config: Any, adapter: Path) -> torch.Tensor:
    """Logits of base and adapter, as export finds the base."""
    found = locate(on_base(config, adapter), quiet)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(found.folder), adapter)
    with torch.no_grad():
        logits = tuned(torch.arange(10, 30).unsqueeze(0)).logits
    assert isinstance(logits, torch.Tensor)
    return logits


def test_a_checkpoint_apart_from_its_run_is_of_the_bare_base(tmp_path: Path) -> None:
    """What the run began with is part of it already: it is not put on a second time."""
    base = save(tmp_path / "model", FAMILIES["llama"]())
    given = made(tmp_path / "given", base, scale=0.2)
    run = train_on(tmp_path, given).output
    config = tiny(tmp_path, model=str(given))
    wanted = merged(config, run / "final_model")
    apart = tmp_path / "apart"
    shutil.copytree(run / "checkpoint-2", apart / "checkpoint-2")
    shutil.copytree(run / "final_model", apart / "final_model")
    trained = held(apart / "checkpoint-2")
    assert trained.config.output_dir is None, "a checkpoint alone is no run"
    elsewhere = tiny(tmp_path, model=str(given), output_dir=str(tmp_path / "passing"))
    torch.testing.assert_close(merged(elsewhere, apart / "final_model"), wanted, rtol=0, atol=0)
    assert not (tmp_path / "passing").exists()
    # One whose base is an adapter is put on that.
    below = made(tmp_path / "below", base, scale=0.2, r=3)
    name = below / "adapter_config.json"
    held_base = json.loads(name.read_text()) | {"base_model_name_or_path": str(given)}
    name.write_text(json.dumps(held_base))
    (tmp_path / "passing").mkdir()
    twice = msgspec.structs.replace(elsewhere, model=str(given))
    with_first = merged(twice, below)
    bare = msgspec.structs.replace(elsewhere, model=str(base), output_dir=str(tmp_path / "third"))
    assert not torch.allclose(with_first, merged(bare, below), atol=1e-3)


def held(path: Path) -> Any:
    with held_trained(str(path)) as trained:
        return trained
