"""Whose settings file it is, told by the keys in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.neighbours import llama_factory, trl
from kto_tui.core.neighbours.reading import Keys, Understood
from kto_tui.core.neighbours.shared import sort_rest


def understand(
    values: Mapping[str, Any], where: str, folder: Path, ours: frozenset[str]
) -> Understood | None:
    """A neighbour's file in our words, or None for one that is nobody's.

    `where` names the file in messages, `folder` is the one it lies in, `ours` the names of our settings.
    Raises UserError for what could not be trained here.
    """
    names = {key.replace("-", "_") for key in values} - ours
    keys = Keys(where, dict(values))
    if names & llama_factory.MARKS:
        llama_factory.read_llama_factory(keys, folder)
        sort_rest(keys, llama_factory.HARMLESS, ours)
        name = llama_factory.NAME
    elif names & trl.MARKS:
        trl.read_trl(keys)
        sort_rest(keys, trl.HARMLESS, ours)
        name = trl.NAME
    else:
        return None
    return Understood(name, keys.settings, keys.sources, tuple(keys.ignored), tuple(keys.unsupported))
