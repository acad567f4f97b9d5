"""The data sets that --dataset names, and how often the rows of each are taken."""

import math
import os
from typing import NamedTuple

from kto_tui.core.errors import UserError
from kto_tui.core.setting import shown


class Weighted(NamedTuple):
    """One data set: 2 takes each of its rows twice, 0.5 half of them."""

    name: str
    weight: float = 1.0


def split_sources(text: str) -> tuple[Weighted, ...]:
    """The data sets in "a.jsonl=2,owner/name::test". A text that is a file's whole name is that file.

    Raises UserError for a weight that is none.
    """
    if _exists(text):
        return (Weighted(text),)
    return tuple(_weighted(part.strip()) for part in text.split(",") if part.strip()) or (Weighted(text),)


def _weighted(part: str) -> Weighted:
    name, mark, number = part.rpartition("=")
    if not mark or _exists(part):
        return Weighted(part)
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not name or not 0 < weight <= 1000:
        raise UserError(
            f"--dataset {shown(part)[1:-1]}: found the weight {shown(number)}; expected a number above 0 and "
            "up to 1000, such as =2 (each row twice) or =0.5 (half of the rows)"
        )
    return Weighted(name, weight)


def joined(sources: tuple[Weighted, ...]) -> str:
    """The text that split_sources takes apart again. Raises UserError for a name that it would part."""
    for name, weight in sources:
        if "," in name and (len(sources) > 1 or weight != 1):
            raise UserError(
                f"--dataset {shown(name)[1:-1]}: found a comma in a path beside others or a weight; "
                "rename it, since commas part data sets"
            )
    return ",".join(
        part.name + ("" if part.weight == 1 else f"={repr(part.weight).removesuffix('.0')}")
        for part in sources
    )


def _exists(name: str) -> bool:
    return os.path.exists(os.path.expanduser(name))
