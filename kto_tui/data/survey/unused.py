"""What was named and is not used: options that name a column which no data set has, and files of a folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from kto_tui.core.datareport import Finding
from kto_tui.core.errors import printable
from kto_tui.data.files import is_plain_split, left_out
from kto_tui.data.load import OpenedSource
from kto_tui.data.wording import listed


def unused(opened: Sequence[OpenedSource]) -> list[Finding]:
    """Columns that none of the data sets made use of (one of several is enough), and files left out."""
    options = [option for option in opened[0].format.unused if all(option in o.format.unused for o in opened)]
    found = [
        Finding(
            kind="unused_option",
            severity="warning",
            message=f"{option}: no data set has that column, so it was not used",
            advice="leave it out, or mend the name",
        )
        for option in options
    ]
    names = dict.fromkeys(source.name for source in opened)
    return [*found, *(finding for name in names for finding in _files_left_out(name))]


def _files_left_out(name: str) -> Iterator[Finding]:
    """Files of a folder that are held out by their names; a warning where these may mean something else."""
    folder = Path(os.path.expanduser(name))
    files = left_out(folder, printable(name)) if folder.is_dir() else []
    if files:
        one = len(files) == 1
        yield Finding(
            kind="files_left_out",
            severity="info" if all(map(is_plain_split, files)) else "warning",
            message=f"{printable(name)}: {listed(files)} {'is' if one else 'are'} not read, as test or"
            f" validation data by {'its name' if one else 'their names'}",
            advice="to train on a file that is not, name it too or give it another name",
        )
