"""That TRL and transformers still are what training leans on; each failure names what a release has moved."""

import importlib
import inspect

import pytest
from transformers import Trainer
from trl import KTOTrainer

from kto_tui.training.engine import EngineTrainer
from kto_tui.training.leaned_on import ARGUMENTS, ATTRIBUTES, FUNCTIONS, OVERRIDDEN, WHILE_TRAINING
from kto_tui.training.trainer import SteeredTrainer


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_is_there(name: str) -> None:
    assert callable(getattr(KTOTrainer, name, None)), f"{name} is gone: nothing would call ours any more"
    assert name in {**vars(EngineTrainer), **vars(SteeredTrainer)}, f"{name} is not overridden any more"


def test_nothing_else_is_overridden() -> None:
    ours = {
        name
        for trainer in (EngineTrainer, SteeredTrainer)
        for name, value in vars(trainer).items()
        if callable(value) and not name.startswith("__")
    }
    assert {name for name in ours if hasattr(KTOTrainer, name)} == set(OVERRIDDEN)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_set_by_the_trainers(name: str) -> None:
    sources = inspect.getsource(KTOTrainer.__init__) + inspect.getsource(Trainer.__init__)
    assert f"self.{name} =" in sources or f"self.{name}:" in sources, f"{name} is not set any more"


@pytest.mark.parametrize("name", WHILE_TRAINING)
def test_sums_are_kept_while_training(name: str) -> None:
    source = inspect.getsource(importlib.import_module("transformers.trainer"))
    assert f"self.{name} =" in source, f"{name} is not kept any more"


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in FUNCTIONS.items() for name in names])
def test_functions_are_where_they_were(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"{module}.{name} is gone"


def test_all_blocks_of_a_step_come_before_its_first_gradient() -> None:
    """z is pooled there."""
    source = inspect.getsource(Trainer._run_epoch)
    assert source.index("get_batch_samples(") < source.index("training_step(")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_read_as_training_begins(name: str) -> None:
    assert f"args.{name}" in inspect.getsource(Trainer.train), f"{name} is not what training goes by"
