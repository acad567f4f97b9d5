"""The forms in which tools and people write rated answers, each recognized from its first records."""

from kto_tui.data.formats.base import Format, TiedError, UnexplainedScale, UnratedError
from kto_tui.data.formats.recognition import recognize

__all__ = ["Format", "TiedError", "UnexplainedScale", "UnratedError", "recognize"]
