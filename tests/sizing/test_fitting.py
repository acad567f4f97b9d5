"""Micro-batches chosen and halved, the largest that fit, and what to change first."""

import msgspec
import pytest

from kto_tui.core.errors import UserError
from kto_tui.core.resolve import resolve
from kto_tui.sizing.devices import GIB, gpu_of, named_gpu, sized_gpu
from kto_tui.sizing.fitting import advice, fitted, largest_batch, largest_length, planned
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.shape import ModelShape
from tests.sizing.presets import PRESETS

LONG = Lengths.at_most(2048)
SMALL = ModelShape.from_config(PRESETS["1.5b"][0])
SEVEN = ModelShape.from_config(PRESETS["7b"][0])
PRESET = resolve({"model_size": "1.5b"})
ROOM = sized_gpu(8).available_bytes


def test_a_preset_that_does_not_fit_is_halved_with_the_rows_of_a_step_kept() -> None:
    found = fitted(PRESET, SMALL, ROOM, LONG)
    assert found.plan.total_bytes <= ROOM
    assert found.config.batch_size * found.config.gradient_accumulation_steps == 32
    assert found.config.batch_size in (2, 4, 8)
    twice = msgspec.structs.replace(found.config, batch_size=2 * found.config.batch_size)
    assert planned(SMALL, twice, LONG, "cuda", ROOM).total_bytes > ROOM
    (note,) = found.notes
    assert "16 x 2" in note


def test_what_fits_stays() -> None:
    found = fitted(PRESET, SMALL, 24 * GIB, LONG)
    assert (found.config, found.notes) == (PRESET, ())


@pytest.mark.parametrize("name", ["batch_size", "gradient_accumulation_steps"])
def test_what_was_named_is_only_remarked_on(name: str) -> None:
    found = fitted(PRESET, SMALL, ROOM, LONG, named={name})
    assert found.config == PRESET
    assert "16 rows of 2,048 tokens at once need about" in found.notes[0]


def test_auto_takes_the_largest_power_of_two_and_the_presets_rows() -> None:
    config = resolve({"model_size": "1.5b", "batch_size": "auto"})
    found = fitted(config, SMALL, ROOM, LONG).config
    assert found.batch_size * found.gradient_accumulation_steps == 32
    assert found.batch_size == fitted(PRESET, SMALL, ROOM, LONG).config.batch_size
    assert fitted(config, SMALL, 80 * GIB, LONG).config.batch_size == 32
    tight = fitted(config, SMALL, 2 * GIB, LONG)
    assert tight.config.batch_size == 2
    assert len(tight.notes) == 2


def test_auto_beside_a_named_accumulation_comes_to_32_rows_at_most() -> None:
    config = resolve({"model": "m", "batch_size": "auto", "gradient_accumulation_steps": "4"})
    found = fitted(config, SMALL, 80 * GIB, LONG, named={"gradient_accumulation_steps"}).config
    assert (found.batch_size, found.gradient_accumulation_steps) == (8, 4)


def test_the_largest_are_the_largest() -> None:
    rows = largest_batch(SMALL, PRESET, LONG, "cuda", ROOM)
    assert rows is not None
    for count, fits in ((rows, True), (rows + 1, False)):
        config = msgspec.structs.replace(PRESET, batch_size=count)
        assert (planned(SMALL, config, LONG, "cuda", ROOM).total_bytes <= ROOM) is fits
    length = largest_length(SMALL, PRESET, "cuda", ROOM)
    assert length is not None
    for tokens, fits in ((length, True), (length + 64, False)):
        plan = planned(SMALL, PRESET, Lengths.at_most(tokens), "cuda", ROOM)
        assert (plan.total_bytes <= ROOM) is fits
    assert largest_batch(SEVEN, PRESET, LONG, "cuda", GIB) is None
    assert largest_length(SEVEN, PRESET, "cuda", GIB) is None
    assert largest_length(SMALL, PRESET, "cuda", 1000 * GIB) == 32768


def test_auto_checkpoints_only_where_activations_would_not_fit() -> None:
    few = msgspec.structs.replace(PRESET, batch_size=2)
    short = Lengths.at_most(256)
    assert not planned(SMALL, few, short, "cuda", 24 * GIB).checkpointing
    assert planned(SMALL, few, LONG, "cuda", ROOM).checkpointing
    off = msgspec.structs.replace(few, gradient_checkpointing="off")
    assert not planned(SMALL, off, LONG, "cuda", ROOM).checkpointing


def test_advice_names_first_what_leaves_the_result_alone() -> None:
    config = msgspec.structs.replace(PRESET, gradient_checkpointing="off")
    plan = planned(SMALL, config, LONG, "cuda", ROOM)
    found = advice(config, SMALL, plan, ROOM)
    assert found[0].change == "--gradient-checkpointing on"
    assert found[1].change == "--batch-size 2 --gradient-accumulation-steps 16"
    assert all(each.saved_bytes > 0 for each in found)
    assert {"--max-length 1024", "--quantization nf4"} <= {each.change for each in found}
    small = planned(SMALL, PRESET, LONG, "cuda", ROOM)
    assert found[1].enough == (found[1].saved_bytes >= plan.total_bytes - ROOM)
    (batch, *_) = advice(PRESET, SMALL, small, 9 * GIB)
    assert batch.change == "--batch-size 8 --gradient-accumulation-steps 4"
    assert batch.enough


@pytest.mark.parametrize("name", ["RTX 3090", "rtx3090", "NVIDIA GeForce RTX 3090"])
def test_gpus_by_name(name: str) -> None:
    found = named_gpu(name)
    assert (found.total_bytes, found.kind) == (24 * GIB, "cuda")
    assert found.available_bytes < found.total_bytes


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla T4", "old_cuda"),
        ("NVIDIA GeForce RTX 2080 Ti", "old_cuda"),
        ("NVIDIA GeForce GTX 1080 Ti", "old_cuda"),
        ("NVIDIA A100-SXM4-80GB", "cuda"),
        ("NVIDIA GeForce RTX 4090", "cuda"),
        ("Quadro RTX 6000", "old_cuda"),
        ("NVIDIA RTX 6000 Ada Generation", "cuda"),
    ],
)
def test_gpus_before_ampere_have_no_bfloat16(name: str, kind: str) -> None:
    assert gpu_of(name, 16 * GIB, GIB).kind == kind


def test_gpus_that_are_none() -> None:
    with pytest.raises(UserError, match=r"--gpu Voodoo.*--vram"):
        named_gpu("Voodoo \x1b[2J")
    with pytest.raises(UserError, match="--vram 0"):
        sized_gpu(0)
    assert gpu_of("x", GIB, 2 * GIB).available_bytes == 0
