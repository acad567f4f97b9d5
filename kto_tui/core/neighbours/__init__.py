"""Settings files and commands of other trainers, in the words of this one: TRL's and LLaMA-Factory's."""

from kto_tui.core.neighbours.reading import Understood
from kto_tui.core.neighbours.understanding import understand

__all__ = ["Understood", "understand"]
