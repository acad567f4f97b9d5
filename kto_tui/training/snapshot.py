"""How things stood between two steps, to go back there when the step under way is left."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kto_tui.training.tally import Tally


@dataclass(frozen=True)
class RandomState:
    """All generators that training draws from, as transformers saves them."""

    python: Any
    numpy: Any
    cpu: Tensor
    cuda: list[Tensor]

    @classmethod
    def now(cls) -> "RandomState":
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Have the generators go on from here."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


@dataclass(frozen=True)
class Before:
    """Figures before a step. `loss`: the sum since the last log; `rewards`: a mark."""

    tally: Tally
    rewards: int
    tokens: int
    loss: Tensor
