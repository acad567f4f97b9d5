"""Options that name a column which no data set has."""

from collections.abc import Sequence

from kto_tui.core.datareport import Finding
from kto_tui.data.load import OpenedSource


def unused(opened: Sequence[OpenedSource]) -> list[Finding]:
    """Those that none of the data sets made use of; one of several is enough."""
    options = [option for option in opened[0].format.unused if all(option in o.format.unused for o in opened)]
    return [
        Finding(
            kind="unused_option",
            severity="warning",
            message=f"{option}: no data set has that column, so it was not used",
            advice="leave it out, or mend the name",
        )
        for option in options
    ]
