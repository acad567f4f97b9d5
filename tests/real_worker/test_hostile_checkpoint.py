"""A checkpoint from a stranger: whatever is pickled into it, nothing of it is carried out or taken up."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from kto_tui.core.changes import changed_settings
from kto_tui.core.errors import UserError
from kto_tui.core.events import AlertRaised, RunEnded
from kto_tui.core.manifest import describe, read_manifest, write_manifest
from kto_tui.training.resumed import check_files
from tests.real_worker.harness import Sitting, sit, tiny, write_rows

pytestmark = pytest.mark.worker


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    return sit(tiny(tmp_path_factory.mktemp("trained"), max_steps=2, save_steps=1))


def sign(checkpoint: Path) -> None:
    """Have the manifest fit the files, as somebody would who means harm."""
    manifest = read_manifest(checkpoint)
    write_manifest(checkpoint, msgspec.structs.replace(manifest, files=describe(checkpoint)))


def test_the_bomb_goes_off_where_it_is_not_looked_after(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_nothing_pickled_is_carried_out(trained: Sitting, tmp_path: Path, name: str) -> None:
    harm, file = tmp_path / "harm", trained.output / "checkpoint-1" / name
    before = file.read_bytes()
    torch.save({"state": Bomb(harm)}, file)
    sign(trained.output / "checkpoint-1")
    settings = {"max_steps": 2, "resume_from_checkpoint": str(trained.output / "checkpoint-1")}
    again = sit(tiny(trained.output.parent, **settings))
    assert not harm.exists()
    if name == "training_args.bin":  # It is kept for other programs, and never read here.
        assert again.exit_code == 0
    else:
        assert again.exit_code == 2
        assert name in (again.of(RunEnded)[0].error or "")
        assert "holds more than tensors and numbers" in (again.of(RunEnded)[0].error or "")
    file.write_bytes(before)
    sign(trained.output / "checkpoint-1")


def test_a_checkpoint_that_was_changed_is_refused(trained: Sitting) -> None:
    checkpoint = trained.output / "checkpoint-1"
    file = checkpoint / "adapter_model.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    again = sit(tiny(trained.output.parent, max_steps=2, resume_from_checkpoint=str(checkpoint)))
    file.write_bytes(before)
    assert again.exit_code == 2
    assert "adapter_model.safetensors is not what was written" in (again.of(RunEnded)[0].error or "")


def test_other_rows_than_those_trained_on_are_refused_unless_allowed(tmp_path: Path) -> None:
    first = sit(tiny(tmp_path, max_steps=2, save_steps=1))
    write_rows(tmp_path / "rows.jsonl", 24)
    settings = {"max_steps": 2, "resume_from_checkpoint": str(first.output / "checkpoint-1")}
    refused = sit(tiny(tmp_path, **settings))
    assert refused.exit_code == 2
    assert "rows.jsonl are not those that it was trained on" in (refused.of(RunEnded)[0].error or "")
    allowed = sit(tiny(tmp_path, **settings, allow_changed_settings=True))
    assert allowed.exit_code == 0


def test_what_changed_since_is_told(tmp_path: Path) -> None:
    first = sit(tiny(tmp_path, max_steps=2, save_steps=1))
    settings = {"max_steps": 2, "resume_from_checkpoint": str(first.output / "checkpoint-1")}
    again = sit(tiny(tmp_path, **settings, learning_rate=5e-4, logging_steps=2))
    (alert,) = (alert for alert in again.of(AlertRaised) if alert.kind == "settings_changed")
    assert "--learning-rate 0.001 -> 0.0005" in alert.message
    assert "--logging-steps 1 -> 2" in alert.message


# Odd, and yet as its manifest says

Spoil = Callable[[Path], None]
SUMS, STATE = "accumulators.json", "trainer_state.json"
MOMENTS, SCHEDULE, RANDOM = "optimizer.pt", "scheduler.pt", "rng_state.pth"
ADAPTER = "adapter_model.safetensors"


def json_with(name: str, *place: str, value: Any) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        content = json.loads((checkpoint / name).read_text(encoding="utf-8"))
        set_at(content, place, value)
        (checkpoint / name).write_text(json.dumps(content), encoding="utf-8")

    return spoil


def tensors_with(name: str, *place: Any, value: Any) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        content = torch.load(checkpoint / name, weights_only=False)  # This run has just written it.
        set_at(content, place, value)
        torch.save(content, checkpoint / name)

    return spoil


def set_at(content: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        content = content[key]
    content[place[-1]] = value


def instead(name: str, value: Any) -> Spoil:
    return lambda checkpoint: torch.save(value, checkpoint / name)


def bytes_of(name: str, content: bytes) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        (checkpoint / name).write_bytes(content)

    return spoil


def half_of(name: str) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: len(content) // 2])

    return spoil


def adapter(edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Spoil:
    return lambda checkpoint: save_file(edit(load_file(checkpoint / ADAPTER)), checkpoint / ADAPTER)


FIRST = ("state", 0)
GROUP = ("param_groups", 0)
ODD: list[tuple[Spoil, str]] = [
    (json_with(SUMS, "loss", value=None), f"{SUMS}: found None at loss; expected a number"),
    (
        json_with(SUMS, "num_tokens", value=-3),
        f"{SUMS}: found -3 at num_tokens; expected a whole number >= 0",
    ),
    (json_with(SUMS, "num_tokens", value=10**40), f"{SUMS}: found a number of more than 38 digits"),
    (json_with(SUMS, "metrics", value={"kl": [10**400, 1]}), f"{SUMS}: found number out of range"),
    (json_with(SUMS, "rows_at_once", "training", value=0), f"{SUMS}: found 0 at rows_at_once.training"),
    (
        json_with(SUMS, "rewards", value={"rewards": [1], "labels": []}),
        f"{SUMS}: found 1 rewards and 0 labels",
    ),
    (json_with(SUMS, "early_stopping", value={}), f"{SUMS}: found no best_step at early_stopping"),
    (json_with(SUMS, "best_home", value="a\0b"), f"{SUMS}: found best_home with a NUL"),
    (json_with(SUMS, "last_logged_step", value=99), f"{SUMS}: found last_logged_step 99; expected one up to"),
    (bytes_of(SUMS, b'{"loss":' + b"[" * 100_000), f"{SUMS}: found no JSON that can be read"),
    (json_with(STATE, "global_step", value=7), f"{STATE}: found global_step 7; expected 1, as its manifest"),
    (json_with(STATE, "log_history", value=[5]), f"{STATE}: found 5 at log_history[0]; expected a mapping"),
    (json_with(STATE, "stateful_callbacks", value={}), f"{STATE}: found no TrainerControl"),
    (
        json_with(STATE, "total_flos", value="x\x1b[31m"),
        r"found 'x\x1b[31m' at total_flos; expected a number",
    ),
    (json_with(STATE, "from_the_future", value=1), f"{STATE}: found from_the_future; expected only what"),
    (instead(MOMENTS, 5), f"{MOMENTS}: found 5; expected a mapping"),
    (instead(MOMENTS, {"state": {0: torch.zeros(3)}, "param_groups": []}), "found moments of parameter 0"),
    (
        tensors_with(MOMENTS, *FIRST, value=torch.zeros(3)),
        "found a Tensor for parameter 0; expected its moments",
    ),
    (tensors_with(MOMENTS, *FIRST, "step", value=torch.tensor(-5.0)), "found step -5.0 of parameter 0"),
    (tensors_with(MOMENTS, *FIRST, "step", value=torch.zeros(2, 2)), "found step a Tensor of parameter 0"),
    (tensors_with(MOMENTS, *FIRST, "exp_avg", value=torch.zeros(3, 3)), "of the shapes 3x3 and 4x"),
    (
        tensors_with(MOMENTS, *FIRST, "exp_avg", value=1.0),
        "found exp_avg of parameter 0: 1.0; expected a plain",
    ),
    (
        tensors_with(MOMENTS, *FIRST, "exp_avg", value=torch.zeros(4, device="meta")),
        "expected a plain tensor",
    ),
    # One number in the place of all: a kernel would write past it.
    (
        tensors_with(MOMENTS, *FIRST, "exp_avg", value=torch.zeros(()).expand(4, 192)),
        "expected a plain tensor",
    ),
    (tensors_with(MOMENTS, *FIRST, "exp_avg", value=torch.tensor(torch.nan)), "that are not finite"),
    (tensors_with(MOMENTS, *FIRST, "exp_avg_sq", value=-torch.ones(4)), "negative numbers in exp_avg_sq"),
    (
        tensors_with(MOMENTS, *FIRST, "exp_avg", value=torch.zeros(4).long()),
        "exp_avg of parameter 0 in int64",
    ),
    (tensors_with(MOMENTS, *FIRST, value={"step": 1}), "exp_avg of parameter 0: nothing; expected a plain"),
    (
        tensors_with(MOMENTS, *GROUP, "params", value=[1, 0]),
        f"{MOMENTS}: found parameters out of their order",
    ),
    (tensors_with(MOMENTS, *GROUP, "betas", value=5), "found 5 at param_groups[0].betas; expected a list"),
    (tensors_with(SCHEDULE, "last_epoch", value=2), f"{SCHEDULE}: found step 2; expected one up to 1"),
    (tensors_with(SCHEDULE, "_step_count", value="x"), f"{SCHEDULE}: found 'x' at _step_count"),
    (instead(SCHEDULE, torch.zeros(3)), f"{SCHEDULE}: found "),
    (
        tensors_with(RANDOM, "python", value=(3, (1, 2), None)),
        "a state that the generator python does not take",
    ),
    (tensors_with(RANDOM, "numpy", value=5), "a state that the generator numpy does not take"),
    (
        tensors_with(RANDOM, "cpu", value=torch.zeros(3).byte()),
        "a state that the generator cpu does not take",
    ),
    (tensors_with(RANDOM, "cuda", value=5), "a state that the generator cuda does not take"),
    *((bytes_of(name, b"garbage"), f"{name}: found a damaged file") for name in (MOMENTS, SCHEDULE, RANDOM)),
    *((half_of(name), f"{name}: found a damaged file") for name in (MOMENTS, SCHEDULE, RANDOM, ADAPTER)),
    (bytes_of(MOMENTS, b""), f"{MOMENTS}: found a damaged file"),
    (bytes_of(MOMENTS, pickle.dumps({"state": 1})), f"{MOMENTS}: found a damaged file"),
    (
        adapter(lambda saved: {name: value.int() for name, value in saved.items()}),
        "in int32; expected numbers",
    ),
    (adapter(lambda saved: {name: value / 0 for name, value in saved.items()}), "that are not finite"),
]


def spoiled(trained: Sitting, folder: Path, spoil: Spoil) -> Path:
    """A copy of the run in `folder`, whose only checkpoint is spoiled and signed."""
    shutil.copytree(trained.output.parent, folder, dirs_exist_ok=True)
    for name in ("checkpoint-2", "final_model"):
        shutil.rmtree(folder / "out" / name)
    checkpoint = folder / "out" / "checkpoint-1"
    spoil(checkpoint)
    sign(checkpoint)
    return checkpoint


def test_what_was_not_spoiled_passes(trained: Sitting, tmp_path: Path) -> None:
    check_files(spoiled(trained, tmp_path, lambda _: None))


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_files_are_refused_before_anything_is_loaded(
    trained: Sitting, tmp_path: Path, number: int
) -> None:
    spoil, says = ODD[number]
    checkpoint = spoiled(trained, tmp_path, spoil)
    with pytest.raises(UserError) as refused:
        check_files(checkpoint)
    error = str(refused.value)
    assert error.startswith(f"--resume-from-checkpoint {checkpoint}: ")
    assert says in error
    assert error.endswith("; resume from another checkpoint")
    assert error.isprintable()


# Moments of another shape crashed the whole process: the fused kernel wrote beside them.
UNFIT: dict[str, tuple[Spoil, str]] = {
    "shape": (
        tensors_with(
            MOMENTS,
            *FIRST,
            value={"step": 1, "exp_avg": torch.zeros(3, 3), "exp_avg_sq": torch.zeros(3, 3)},
        ),
        "optimizer.pt: found exp_avg of parameter 0 with the shape 3x3; expected 4x192",
    ),
    "fewer": (
        instead(MOMENTS, {"state": {}, "param_groups": []}),
        "optimizer.pt: found groups of [] parameters; expected [28, 0]",
    ),
    "maximize": (
        tensors_with(MOMENTS, *GROUP, "maximize", value=True),
        "optimizer.pt: found maximize True; expected False",
    ),
    "another method": (
        tensors_with(SCHEDULE, "step", value=5),
        "scheduler.pt: found step; expected what a schedule of the learning rate holds",
    ),
    "a layer less": (
        adapter(lambda saved: {name: saved[name] for name in sorted(saved)[1:]}),
        "lora_A.weight: nothing; expected 4x",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_this_model_is_refused(trained: Sitting, tmp_path: Path, name: str) -> None:
    spoil, says = UNFIT[name]
    checkpoint = spoiled(trained, tmp_path, spoil)
    again = sit(tiny(tmp_path, max_steps=2, resume_from_checkpoint=str(checkpoint)))
    (ended,) = again.of(RunEnded)
    assert (again.exit_code, ended.step) == (2, 1)
    assert says in (ended.error or "")
    assert (ended.error or "").endswith("; resume from another checkpoint")


def test_an_evaluation_is_not_made_up_without_rows(trained: Sitting, tmp_path: Path) -> None:
    """It may be due from a time when there were some: which they are may change without harm."""
    checkpoint = spoiled(trained, tmp_path, json_with(SUMS, "evaluation_due", value=True))
    settings = {"resume_from_checkpoint": str(checkpoint)}
    assert sit(tiny(tmp_path, max_steps=1, **settings, allow_changed_settings=True)).exit_code == 0
    assert sit(tiny(tmp_path, max_steps=2, **settings)).exit_code == 0


def test_another_base_than_trained_on_is_refused_unless_allowed(trained: Sitting, tmp_path: Path) -> None:
    checkpoint = spoiled(trained, tmp_path, lambda _: None)
    weights = tmp_path / "out" / "base_model" / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: value * 1.01 for name, value in tensors.items()}, weights, {"format": "pt"})
    settings = {"max_steps": 2, "resume_from_checkpoint": str(checkpoint)}
    refused = sit(tiny(tmp_path, **settings))
    assert refused.exit_code == 2
    assert (
        "builtin:tiny (or the run's own copy) holds, or how it is stored, is not what it was trained on"
        in (refused.of(RunEnded)[0].error or "")
    )
    assert sit(tiny(tmp_path, **settings, allow_changed_settings=True)).exit_code == 0


def test_other_rows_to_evaluate_on_are_refused_where_they_decide(tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "held.jsonl", 6)
    patient = {"max_steps": 2, "eval_dataset": held_out, "eval_steps": 1, "early_stopping_patience": 5}
    first = sit(tiny(tmp_path, **patient, save_steps=1))
    write_rows(tmp_path / "held.jsonl", 8)
    patient["resume_from_checkpoint"] = str(first.output / "checkpoint-1")
    refused = sit(tiny(tmp_path, **patient))
    assert refused.exit_code == 2
    assert "held.jsonl are not those that it was evaluated on" in (refused.of(RunEnded)[0].error or "")
    assert sit(tiny(tmp_path, **patient, allow_changed_settings=True)).exit_code == 0


def test_auto_by_its_name_is_no_change(trained: Sitting) -> None:
    named = {
        "optim": "adamw_torch", "dtype": "float32", "quantization": "none", "gradient_checkpointing": "off",
        "class_weights": "1:1",
    }  # fmt: skip
    now = tiny(trained.output.parent, max_steps=2, save_steps=1, **named)
    if torch.cuda.is_available():
        pytest.skip("auto comes to something else on a GPU")
    assert changed_settings(trained.output / "checkpoint-1", now) == []
